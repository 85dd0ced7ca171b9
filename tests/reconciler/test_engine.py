from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.errors import ControlError, Forbidden
from common.manager import Action
from nixcc.resource.v1 import resource_pb2
from plane import Plane, condition, eventually, plane, ready, resource
from widgets import Widget, WidgetHost, factory


@pytest.fixture
def host() -> WidgetHost:
    return WidgetHost()


@pytest.fixture
async def cp(tmp_path: Path, host: WidgetHost) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"widgets": factory(host)}) as started:
        yield started


async def test_what_is_declared_becomes_so(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=3, tags=["b", "a"]), "one"))

    found = await cp.until_ready("Widget", "one")

    assert host.objects["one"].size == 3
    assert host.objects["one"].colour == "grey", "the declared default is filled in"
    assert host.applied("one") == [Action.CREATE]
    assert condition(found, "InSync").status == resource_pb2.CONDITION_STATUS_TRUE
    assert not condition(found, "Reconciling").type


async def test_drift_is_put_back_on_a_hint(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=3), "one"))
    await cp.until_ready("Widget", "one")

    start = time.monotonic()
    host.poke("one", size=99)
    await eventually(lambda: host.objects["one"].size == 3)
    took = time.monotonic() - start

    assert took < 2
    await eventually(lambda: host.applied("one") == [Action.CREATE, Action.UPDATE])

    async def told() -> bool:
        return [event.reason for event in await cp.events("Widget", "one")] == ["Created", "Healed"]

    await eventually(told)


async def test_what_was_removed_is_made_again(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=3), "one"))
    await cp.until_ready("Widget", "one")

    host.lose("one")

    await eventually(lambda: "one" in host.objects)
    await eventually(lambda: host.applied("one") == [Action.CREATE, Action.CREATE])


async def test_drift_without_a_hint_is_found_by_a_pass(cp: Plane, host: WidgetHost) -> None:
    for number in range(5):
        await cp.apply(resource(Widget(size=number), f"w{number}"))
    for number in range(5):
        await cp.until_ready("Widget", f"w{number}")
    host.objects["w2"].size = 77

    result = await cp.reconcile()

    assert (result.resources, result.changed, result.failed) == (5, 1, 0)
    assert host.objects["w2"].size == 2
    again = await cp.reconcile()
    assert (again.resources, again.changed, again.failed) == (5, 0, 0)


async def test_a_pass_over_what_is_in_sync_writes_and_applies_nothing(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(*(resource(Widget(size=n), f"w{n}") for n in range(300)))
    for number in range(300):
        await cp.until_ready("Widget", f"w{number}")
    before, calls = (await cp.get("Widget", "w7")).metadata.revision, len(host.calls)
    host.detects.clear()

    result = await cp.reconcile()

    assert (result.resources, result.changed) == (300, 0)
    assert len(host.calls) == calls
    assert (await cp.get("Widget", "w7")).metadata.revision == before
    assert [len(keys) for keys in host.detects] == [256, 44], "detected in batches, once"


async def test_a_change_that_needs_replacement_is_one(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(shape="round"), "one"))
    await cp.until_ready("Widget", "one")

    await cp.apply(resource(Widget(shape="square"), "one"))
    await cp.until("Widget", "one", lambda r: ready(r) and r.metadata.generation == 2)

    assert host.applied("one") == [Action.CREATE, Action.REPLACE]


async def test_a_failure_is_told_and_tried_again_with_backoff(cp: Plane, host: WidgetHost) -> None:
    attempts: list[float] = []

    def fail_twice(change: object) -> None:
        attempts.append(time.monotonic())
        if len(attempts) < 3:
            raise ControlError("the widget press is jammed")

    host.on_apply = fail_twice
    await cp.apply(resource(Widget(size=1), "one"))

    failing = await cp.until("Widget", "one", lambda r: condition(r, "Ready").reason == "ControlError")
    assert "jammed" in condition(failing, "Ready").message
    assert condition(failing, "Reconciling").reason == "Retrying"
    await cp.until_ready("Widget", "one")

    assert len(attempts) == 3
    assert attempts[1] - attempts[0] >= 0.08
    assert attempts[2] - attempts[1] >= 0.16


async def test_a_terminal_failure_latches_until_the_spec_changes(cp: Plane, host: WidgetHost) -> None:
    def refuse(change: object) -> None:
        raise Forbidden("not with these hands")

    host.on_apply = refuse
    await cp.apply(resource(Widget(size=1), "one"))
    stalled = await cp.until("Widget", "one", lambda r: bool(condition(r, "Stalled").type))
    assert condition(stalled, "Stalled").reason == "Forbidden"

    for _ in range(5):
        host.hint("one")
        await asyncio.sleep(0.05)
    assert host.applied("one") == [Action.CREATE], "hints about an unchanged host don't wake it"

    host.on_apply = lambda change: None
    await cp.apply(resource(Widget(size=2), "one"))
    healthy = await cp.until_ready("Widget", "one")
    assert not condition(healthy, "Stalled").type


async def test_a_terminal_failure_is_tried_again_at_the_next_pass(cp: Plane, host: WidgetHost) -> None:
    def refuse(change: object) -> None:
        raise Forbidden("not with these hands")

    host.on_apply = refuse
    await cp.apply(resource(Widget(size=1), "one"))
    await cp.until("Widget", "one", lambda r: bool(condition(r, "Stalled").type))
    host.on_apply = lambda change: None

    result = await cp.reconcile()

    assert (result.changed, result.failed) == (1, 0)


async def test_dependants_wait_and_wake(cp: Plane, host: WidgetHost) -> None:
    response = await cp.apply(resource(Widget(needs=["base"]), "top"))
    assert any("base" in warning for warning in response.resources[0].warnings)
    waiting = await cp.until("Widget", "top", lambda r: condition(r, "Ready").reason == "DependencyNotReady")
    assert "Widget base" in condition(waiting, "Ready").message

    await cp.apply(resource(Widget(size=1), "base"))
    await cp.until_ready("Widget", "top")

    assert [key for _, key in host.calls] == ["base", "top"]


async def test_a_set_is_made_in_order_and_unmade_in_reverse(cp: Plane, host: WidgetHost) -> None:
    chain = [resource(Widget(needs=[f"w{n - 1}"] if n else []), f"w{n}") for n in range(6)]
    await cp.apply(*reversed(chain), apply_set="chain")
    await cp.until_ready("Widget", "w5")
    assert [key for _, key in host.calls] == [f"w{n}" for n in range(6)]
    host.calls.clear()

    from nixcc.state.v1 import state_pb2

    refs = [resource_pb2.ResourceReference(kind="Widget", name=f"w{n}") for n in range(6)]
    await cp.state.Delete(state_pb2.DeleteRequest(resources=refs))
    await cp.until_gone("Widget", "w0")

    assert host.calls == [(Action.DELETE, f"w{n}") for n in reversed(range(6))]


async def test_observe_only_tells_and_does_not_act(cp: Plane, host: WidgetHost) -> None:
    host.objects["one"] = Widget(size=5, colour="grey")
    await cp.apply(resource(Widget(size=3), "one", drift=resource_pb2.DRIFT_POLICY_OBSERVE))

    found = await cp.until("Widget", "one", lambda r: condition(r, "InSync").reason == "Drifted")

    assert condition(found, "Ready").reason == "ObserveOnly"
    assert [(c.path, c.detected_json, c.desired_json) for c in found.status.drift] == [("size", "5", "3")]
    assert host.calls == []


async def test_suspending_stops_acting_but_not_observing(cp: Plane, host: WidgetHost) -> None:
    from nixcc.reconciler.v1 import reconciler_pb2 as pb

    await cp.apply(resource(Widget(size=3), "one"))
    await cp.until_ready("Widget", "one")
    await cp.loop.Suspend(pb.SuspendRequest(selection=pb.Selection(kind="Widget", names=["one"])))

    host.poke("one", size=4)
    found = await cp.until("Widget", "one", lambda r: condition(r, "InSync").reason == "Drifted")
    assert condition(found, "Ready").reason == "Suspended"
    assert host.applied("one") == [Action.CREATE]

    await cp.loop.Resume(pb.ResumeRequest(selection=pb.Selection(kind="Widget", names=["one"])))
    await cp.until_ready("Widget", "one")
    assert host.objects["one"].size == 3


async def test_a_suspension_ends_by_itself(cp: Plane, host: WidgetHost) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    until = Timestamp()
    until.FromMicroseconds(int((time.time() + 0.6) * 1e6))
    await cp.apply(resource(Widget(size=3), "one", suspend_until=until))
    await cp.until("Widget", "one", lambda r: condition(r, "Ready").reason == "Suspended")
    assert "one" not in host.objects

    await cp.until_ready("Widget", "one")


async def test_ignored_fields_are_left_alone(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=3), "one", ignored_fields=["size"]))
    await cp.until_ready("Widget", "one")

    host.poke("one", size=9)
    host.poke("one", colour="pink")
    await eventually(lambda: host.objects["one"].colour == "grey")

    assert (await cp.reconcile()).changed == 0


async def test_deleting_removes_the_object_and_then_the_resource(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=3), "one"))
    await cp.until_ready("Widget", "one")

    await cp.delete("Widget", "one")
    await cp.until_gone("Widget", "one")

    assert "one" not in host.objects
    assert host.applied("one") == [Action.CREATE, Action.DELETE]


async def test_orphaning_leaves_the_object(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=3), "one", deletion=resource_pb2.DELETION_POLICY_ORPHAN))
    await cp.until_ready("Widget", "one")

    await cp.delete("Widget", "one")
    await cp.until_gone("Widget", "one")

    assert host.objects["one"].size == 3


async def test_deleting_works_on_the_suspended(cp: Plane, host: WidgetHost) -> None:
    from reconciler.reconciler_service import FOREVER

    await cp.apply(resource(Widget(size=3), "one"))
    await cp.until_ready("Widget", "one")
    await cp.apply(resource(Widget(size=3), "one", suspend_until=FOREVER))

    await cp.delete("Widget", "one")
    await cp.until_gone("Widget", "one")

    assert "one" not in host.objects


async def test_a_broken_deletion_is_tried_until_it_works(cp: Plane, host: WidgetHost) -> None:
    await cp.apply(resource(Widget(size=3), "one"))
    await cp.until_ready("Widget", "one")

    def fail(change: object) -> None:
        raise ControlError("in use")

    host.on_apply = fail
    await cp.delete("Widget", "one")
    await cp.until("Widget", "one", lambda r: "in use" in condition(r, "Ready").message)
    host.on_apply = lambda change: None

    await cp.until_gone("Widget", "one")


async def test_somebody_who_writes_all_the_time_is_told_of_and_not_fought_for_ever(
    cp: Plane, host: WidgetHost
) -> None:
    await cp.apply(resource(Widget(size=3), "one"))
    await cp.until_ready("Widget", "one")

    stop = asyncio.Event()

    async def fight() -> None:
        while not stop.is_set():
            if host.objects.get("one") is not None and host.objects["one"].size == 3:
                host.poke("one", size=4)
            await asyncio.sleep(0.005)

    enemy = asyncio.create_task(fight())
    try:
        found = await cp.until("Widget", "one", lambda r: condition(r, "Stalled").reason == "Flapping", 20)
    finally:
        stop.set()
        await enemy

    assert "somebody else" in condition(found, "Stalled").message
    assert len(host.applied("one")) <= 20, "unhindered it would be hundreds"
    await cp.until_ready("Widget", "one", 30)


async def test_an_unhealthy_object_is_not_ready(cp: Plane, host: WidgetHost) -> None:
    host.unhealthy["one"] = "it crashed"
    await cp.apply(resource(Widget(size=3), "one"))

    found = await cp.until("Widget", "one", lambda r: condition(r, "Ready").reason == "Unhealthy")

    assert condition(found, "InSync").status == resource_pb2.CONDITION_STATUS_TRUE
    assert condition(found, "Ready").message == "it crashed"


async def test_one_slow_step_does_not_hold_up_the_others(cp: Plane, host: WidgetHost) -> None:
    import threading

    release = threading.Event()

    def slow(change: object) -> None:
        if getattr(change, "key", "") == "w0":
            release.wait(20)

    host.on_apply = slow
    await cp.apply(*(resource(Widget(size=n), f"w{n}") for n in range(4)))
    try:
        for number in range(1, 4):
            await cp.until_ready("Widget", f"w{number}", 5)
        busy = await cp.until("Widget", "w0", lambda r: condition(r, "Reconciling").reason == "Applying")
        assert condition(busy, "Ready").status == resource_pb2.CONDITION_STATUS_FALSE
    finally:
        release.set()
    await cp.until_ready("Widget", "w0")


async def test_no_object_is_ever_worked_on_twice_at_once(cp: Plane, host: WidgetHost) -> None:
    host.on_apply = lambda change: time.sleep(0.01)
    for round_ in range(6):
        await cp.apply(*(resource(Widget(size=round_), f"w{n}") for n in range(8)))
        for number in range(8):
            host.hint(f"w{number}", f"w{number}")
    for number in range(8):
        await cp.until("Widget", f"w{number}", lambda r: ready(r) and r.metadata.generation == 6)

    assert host.overlapped == []
    assert all(host.objects[f"w{n}"].size == 5 for n in range(8))


async def test_a_restart_finds_everything_and_heals_what_changed_meanwhile(
    tmp_path: Path, host: WidgetHost
) -> None:
    async with plane(tmp_path, {"widgets": factory(host)}) as first:
        await first.apply(*(resource(Widget(size=n), f"w{n}") for n in range(20)))
        for number in range(20):
            await first.until_ready("Widget", f"w{number}")
    host.objects["w3"].size = 99
    del host.objects["w4"]
    calls = len(host.calls)

    async with plane(tmp_path, {"widgets": factory(host)}):
        await eventually(lambda: "w4" in host.objects and host.objects["w3"].size == 3)

    assert sorted(key for _, key in host.calls[calls:]) == ["w3", "w4"]
