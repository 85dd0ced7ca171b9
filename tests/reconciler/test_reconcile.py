"""What goes wrong in the middle of a reconcile: a full disk, a spec that moves, a step that outlasts its batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common import manager_server
from common.errors import HostUnavailable
from common.manager import Action, Outlook
from nixcc.resource.v1 import resource_pb2
from plane import Plane, condition, eventually, plane, ready, resource
from reconciler.link import ServiceLink
from reconciler.resources import Resources
from widgets import Widget, WidgetHost, factory

TRUE = resource_pb2.CONDITION_STATUS_TRUE


@pytest.fixture
def host() -> WidgetHost:
    return WidgetHost()


@pytest.fixture
async def cp(tmp_path: Path, host: WidgetHost) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"widgets": factory(host)}) as started:
        yield started


class Disk:
    """Lets statuses be written, or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.refused = 0
        write = Resources.write_statuses

        async def maybe(resources: Resources, statuses: Any) -> None:
            rows = list(statuses)
            if self.full and rows:
                self.refused += 1
                raise HostUnavailable("nothing was written, the store says: the disk is full")
            await write(resources, rows)

        monkeypatch.setattr(Resources, "write_statuses", maybe)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


class Gate:
    """Holds steps (or looks) at some keys back until it is opened."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)
        self.reached = threading.Event()
        self._open = threading.Event()

    def step(self, change: Any) -> None:
        self.pass_(change.key)

    def look(self, keys: Any) -> None:
        for key in keys:
            self.pass_(key)

    def pass_(self, key: str) -> None:
        if key in self.keys:
            self.reached.set()
            assert self._open.wait(20)

    def open(self) -> None:
        self.keys = set()
        self._open.set()


async def test_a_full_disk_does_not_let_go_of_a_step_that_still_runs(
    cp: Plane, host: WidgetHost, disk: Disk
) -> None:
    gate = Gate("slow")
    host.on_apply = gate.step
    disk.full = True
    try:
        await cp.apply(resource(Widget(size=1), "slow"), resource(Widget(size=1), "quick"))
        await eventually(gate.reached.is_set)
        await eventually(lambda: disk.refused >= 4)
        assert host.applied("slow") == [Action.CREATE]
    finally:
        disk.full = False
        gate.open()

    await cp.until_ready("Widget", "slow")
    await cp.until_ready("Widget", "quick")
    assert host.overlapped == []
    assert host.applied("slow") == [Action.CREATE], "one step was enough"


async def test_a_status_that_can_not_be_written_is_written_later(
    cp: Plane, host: WidgetHost, disk: Disk
) -> None:
    await cp.apply(resource(Widget(size=1), "one"))
    await cp.until_ready("Widget", "one")
    disk.full = True
    host.unhealthy["one"] = "it crashed"
    host.hint("one")
    await eventually(lambda: disk.refused >= 2)
    assert ready(await cp.get("Widget", "one"))

    disk.full = False

    await cp.until("Widget", "one", lambda r: condition(r, "Ready").reason == "Unhealthy")


async def test_what_is_not_well_is_looked_at_again_without_a_hint_where_it_asks_for_it(
    cp: Plane, host: WidgetHost
) -> None:
    host.unhealthy["one"], host.outlook["one"] = "it ended just now", (Outlook.STALLED, 1)
    await cp.apply(resource(Widget(size=1), "one"))
    stalled = await cp.until("Widget", "one", lambda r: condition(r, "Stalled").reason == "Unhealthy")
    assert condition(stalled, "Ready").message == "it ended just now"

    host.unhealthy.clear()
    host.outlook.clear()

    await cp.until_ready("Widget", "one")
    assert host.applied("one") == [Action.CREATE]


async def test_others_wait_for_what_starts(cp: Plane, host: WidgetHost) -> None:
    host.unhealthy["one"], host.outlook["one"] = "its check has not passed yet", (Outlook.STARTING, 0)
    first = resource_pb2.ResourceReference(kind="Widget", name="one")
    await cp.apply(resource(Widget(size=1), "one"), resource(Widget(size=1), "two", depends_on=[first]))
    await cp.until("Widget", "one", lambda r: condition(r, "Ready").reason == "Starting")
    await cp.until("Widget", "two", lambda r: condition(r, "Ready").reason == "DependencyNotReady")

    host.unhealthy.clear()
    host.hint("one")

    await cp.until_ready("Widget", "two")


async def test_a_look_at_the_old_spec_is_never_told_as_one_at_the_new(
    cp: Plane, host: WidgetHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager_server, "BATCH", 1)
    await cp.apply(resource(Widget(size=1), "a"), resource(Widget(size=1), "b"))
    await cp.until_ready("Widget", "a")
    await cp.until_ready("Widget", "b")
    gate = Gate("b")
    host.on_detect = gate.look
    # Both differ, so both are looked at in one go: a has been read when b is waited for.
    host.hint("a", "b")
    await eventually(gate.reached.is_set)
    hold = Gate("a")
    host.on_apply = hold.step
    lies: list[str] = []

    def told(row: resource_pb2.Resource) -> bool:
        if row.metadata.generation == 2 and ready(row) and host.objects["a"].size != 2:
            lies.append(str(row.status))
        return bool(ready(row) and row.metadata.generation == 2)

    watching = asyncio.create_task(cp.until("Widget", "a", told))
    await cp.apply(resource(Widget(size=2), "a"))
    gate.open()
    await eventually(hold.reached.is_set)
    await asyncio.sleep(0.05)
    hold.open()

    await watching
    assert lies == []
    assert host.objects["a"].size == 2


async def test_a_spec_that_changes_under_a_step_is_no_failure(cp: Plane, host: WidgetHost) -> None:
    gate = Gate("one")
    host.on_apply = gate.step
    await cp.apply(resource(Widget(size=1), "one"))
    await eventually(gate.reached.is_set)
    await cp.apply(resource(Widget(size=2), "one"))
    gate.open()

    await cp.until("Widget", "one", lambda r: ready(r) and r.metadata.generation == 2)

    assert host.objects["one"].size == 2
    reasons = {event.reason for event in await cp.events("Widget", "one")}
    assert "ApplyFailed" not in reasons
    assert host.applied("one") == [Action.CREATE, Action.UPDATE]


async def test_a_bug_in_one_step_concerns_its_own_key_and_is_tried_again(
    cp: Plane, host: WidgetHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = ServiceLink.apply
    left = 3

    async def buggy(link: ServiceLink, request: Any, *more: Any) -> Any:
        nonlocal left
        if request.key == "bad" and left:
            left -= 1
            raise ZeroDivisionError("a bug")
        return await apply(link, request, *more)

    monkeypatch.setattr(ServiceLink, "apply", buggy)
    await cp.apply(*(resource(Widget(size=1), name) for name in ("bad", "good", "fine")))

    await cp.until_ready("Widget", "good")
    await cp.until_ready("Widget", "fine")
    await cp.until("Widget", "bad", lambda r: "ZeroDivisionError" in condition(r, "Ready").message)
    await cp.until_ready("Widget", "bad")

    assert host.applied("good") == host.applied("fine") == [Action.CREATE]
    assert left == 0


async def test_a_bug_while_looking_is_told_and_ends_with_the_bug(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=1), "one"), resource(Widget(size=1), "two"))
    await cp.until_ready("Widget", "two")
    broken = True

    def look(keys: Any) -> None:
        if broken:
            raise ZeroDivisionError("a bug")

    host.on_detect = look
    host.hint("one", "two")
    await cp.until("Widget", "one", lambda r: condition(r, "Ready").status != TRUE)
    broken = False

    await cp.until_ready("Widget", "one")
    await cp.until_ready("Widget", "two")
    assert len(host.calls) == 2, "nothing was done to what could not be seen"


async def test_what_differs_after_a_step_is_told_as_such(cp: Plane, host: WidgetHost) -> None:
    def forgetful(change: Any) -> None:
        change.desired.size = 7

    host.on_apply = forgetful
    await cp.apply(resource(Widget(size=1), "one"))

    found = await cp.until("Widget", "one", lambda r: "still differs" in condition(r, "Ready").message)

    assert "size" in condition(found, "Ready").message
    assert [change.path for change in found.status.drift] == ["size"]
    host.on_apply = lambda change: None
    await cp.until_ready("Widget", "one")
