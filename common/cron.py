"""When runs are due, by cron expressions. Pure; times are seconds since the epoch."""

from __future__ import annotations

import math
import os
from datetime import UTC, datetime, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError


def wrong(expression: str) -> str:
    """What is wrong with a cron expression; empty: nothing."""
    try:
        next(CronSim(expression, datetime(2026, 1, 1)))
    except CronSimError as error:
        return f"is no cron expression: {error}; five fields are needed, such as 30 3 * * *"
    except StopIteration:
        return "never comes true"
    return ""


def zone(name: str) -> tzinfo | None:
    """The time zone; empty: None, the host's. ValueError: there is none of the name."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"{name!r} is no time zone; they are named like Europe/Berlin") from None


def following(expression: str, after: float, where: tzinfo | None) -> float:
    """The first time after `after`; in the past where runs were missed, however many; infinity: never."""
    return _times(expression, after, where, 1)[0]


def overdue(expression: str, last_success: float, now: float, allowed: float, where: tzinfo | None) -> bool:
    """Whether the last success is too long ago. `allowed` in seconds; 0: until the second run after it."""
    if allowed:
        return now > last_success + allowed
    return now > _times(expression, last_success, where, 2)[1]


def _times(expression: str, after: float, where: tzinfo | None, count: int) -> list[float]:
    start = datetime.fromtimestamp(after, where or _here())
    try:
        found = [moment.timestamp() for moment in islice(CronSim(expression, start), count)]
    except CronSimError:
        found = []
    return found + [math.inf] * (count - len(found))


def _here() -> tzinfo:
    """The host's zone with its rules: an offset alone would be wrong from the next change of clocks on."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return datetime.now().astimezone().tzinfo or UTC
