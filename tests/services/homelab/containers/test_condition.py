"""What is told of containers that run, start, fail and end again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.manager import Outlook
from services.homelab.containers.condition import Condition, condition, together

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


def told(status: str, *, restarts: int = 0, ran: float = 100, health: str = "", code: int = 0) -> Condition:
    state: dict[str, Any] = {
        "Status": status,
        "ExitCode": code,
        "StartedAt": (NOW - timedelta(seconds=ran)).isoformat(),
    }
    if health:
        state["Health"] = {"Status": health, "Log": [{"ExitCode": 1, "Output": "no database"}]}
    inspected = {"Id": "1", "Name": "/web", "State": state, "RestartCount": restarts}
    return condition(inspected, NOW, lambda: "; the last it said: bye")


@pytest.mark.parametrize("found", [told("running"), told("running", health="healthy"), told("exited")])
def test_nothing_is_wrong(found: Condition) -> None:
    assert found == Condition()


def test_health() -> None:
    assert told("running", health="unhealthy") == Condition("its health check fails: no database")
    starting = told("running", health="starting")
    assert (starting.outlook, starting.look_again) == (Outlook.STARTING, 0)
    assert told("exited", health="starting") == Condition(), "that it does not run is a difference"


@pytest.mark.parametrize(
    ("restarts", "outlook"), [(1, Outlook.STARTING), (2, Outlook.STARTING), (3, Outlook.STALLED)]
)
def test_what_the_engine_starts_again_and_again(restarts: int, outlook: Outlook) -> None:
    found = told("restarting", restarts=restarts, code=3)
    assert found.wrong == f"it keeps ending: exit code 3, {restarts} restarts; the last it said: bye"
    assert (found.outlook, found.look_again) == (outlook, 0)
    between = told("running", restarts=restarts, ran=0.5, health="starting")
    assert (between.outlook, between.look_again) == (outlook, 10)


def test_what_has_run_for_long_enough_is_well_again() -> None:
    assert told("running", restarts=9, ran=9.5).look_again == 1
    assert told("running", restarts=9, ran=10) == Condition()


def test_what_is_said_of_several() -> None:
    well, starts = Condition(), Condition("it starts", Outlook.STARTING)
    fails, ends = Condition("it fails"), Condition("it ends", Outlook.STALLED, 7)

    assert together({}) == together({"a": well}) == well
    assert together({"a": well, "b": starts}) == Condition("b: it starts", Outlook.STARTING)
    assert together({"a": fails, "b": starts}) == Condition("a: it fails; b: it starts")
    assert together({"a": fails, "b": starts, "c": ends}) == Condition(
        "a: it fails; b: it starts; c: it ends", Outlook.STALLED, 7
    )
