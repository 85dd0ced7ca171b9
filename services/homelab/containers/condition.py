"""How a container does that is as declared: whether it works, and how it goes on by itself. Pure but for its words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from common.manager import Outlook
from services.homelab.drivers.base import Json
from services.homelab.inspecting import view
from services.homelab.models import ContainerView, Health, State

# Seconds that one must run after the engine started it again; the engine's own pauses begin anew then, too.
_LASTING = 10.0
# Once is bad luck: what it needs may not have been there yet.
_MANY_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """What is wrong (empty: nothing), how it goes on, and after how many seconds to look again (0: an event tells)."""

    wrong: str = ""
    outlook: Outlook = Outlook.UNSPECIFIED
    look_again: int = 0


def condition(inspected: Json, now: datetime, said: Callable[[], str]) -> Condition:
    """Of the container that inspect tells of; `said` gives the end of its output."""
    told = view(inspected)
    loop = _restarts(told, now)
    if loop is not None:
        code = f"exit code {told.exit_code}, " if told.state is State.RESTARTING else ""
        many = told.restarts >= _MANY_RESTARTS
        words = f"it keeps ending: {code}{told.restarts} restarts{said()}"
        return Condition(words, Outlook.STALLED if many else Outlook.STARTING, loop)
    if told.health is Health.UNHEALTHY:
        return Condition(f"its health check fails: {told.health_output or 'without a word'}")
    if told.health is Health.STARTING and told.state is State.RUNNING:
        return Condition("its health check has not said yet whether it is well", Outlook.STARTING)
    return Condition()


def together(conditions: Mapping[str, Condition]) -> Condition:
    """Of several, by name: stalled where one is, starting where all that is wrong starts."""
    wrong = {name: one for name, one in conditions.items() if one.wrong}
    outlooks = {one.outlook for one in wrong.values()}
    outlook = Outlook.UNSPECIFIED
    if Outlook.STALLED in outlooks:
        outlook = Outlook.STALLED
    elif outlooks == {Outlook.STARTING}:
        outlook = Outlook.STARTING
    return Condition(
        "; ".join(f"{name}: {one.wrong}" for name, one in wrong.items()),
        outlook,
        min((one.look_again for one in wrong.values() if one.look_again), default=0),
    )


def _restarts(told: ContainerView, now: datetime) -> int | None:
    """Seconds until it counts as lasting (0: it doesn't run); None: the engine did not start it again just now."""
    if told.state is State.RESTARTING:
        return 0
    if told.state is not State.RUNNING or not told.restarts or told.started is None:
        return None
    left = _LASTING - (now - told.started).total_seconds()
    return math.ceil(left) if left > 0 else None
