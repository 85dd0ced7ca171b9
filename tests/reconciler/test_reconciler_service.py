"""Plan, pause, graph and events, as clients see them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from common import errors
from common.host import THREADS
from nixcc.manager.v1 import manager_pb2
from nixcc.reconciler.v1 import reconciler_pb2 as pb
from nixcc.resource.v1 import resource_pb2
from plane import Plane, condition, eventually, plane, resource
from reconciler import link
from widgets import Widget, WidgetHost, factory

FALSE = resource_pb2.CONDITION_STATUS_FALSE


@pytest.fixture
def host() -> WidgetHost:
    return WidgetHost()


@pytest.fixture
async def cp(tmp_path: Path, host: WidgetHost) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"widgets": factory(host)}) as started:
        yield started


async def refused(call: Any) -> errors.ControlError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return errors.from_rpc_error(caught.value)


def named(*names: str) -> pb.Selection:
    return pb.Selection(kind="Widget", names=names)


async def settled(cp: Plane, *resources: resource_pb2.Resource) -> None:
    await cp.apply(*resources)
    for one in resources:
        await cp.until_ready("Widget", one.metadata.name)


async def test_a_plan_tells_what_would_be_done_in_its_order_and_does_nothing(
    cp: Plane, host: WidgetHost
) -> None:
    await settled(
        cp,
        resource(Widget(size=1), "base"),
        resource(Widget(size=1, needs=["base"]), "above"),
        resource(Widget(size=1, shape="round"), "other"),
        resource(Widget(size=1), "fine"),
    )
    host.objects["seen"] = Widget(size=1, colour="grey")
    await settled(cp, resource(Widget(size=1), "seen", drift=resource_pb2.DRIFT_POLICY_OBSERVE))
    calls = len(host.calls)
    # Behind its back and without a hint.
    del host.objects["base"]
    host.objects["above"].size = 5
    host.objects["other"].shape = "flat"
    host.objects["seen"].size = 7

    plan = await cp.loop.Plan(pb.PlanRequest())

    steps = {step.resource.name: step for step in plan.steps}
    assert plan.resources == 5
    assert {name: step.action for name, step in steps.items()} == {
        "base": manager_pb2.ACTION_CREATE,
        "above": manager_pb2.ACTION_UPDATE,
        "other": manager_pb2.ACTION_REPLACE,
        "seen": manager_pb2.ACTION_UPDATE,
    }
    order = [step.resource.name for step in plan.steps]
    assert order.index("base") < order.index("above")
    change = steps["above"].changes[0]
    assert (change.path, change.detected_json, change.desired_json) == ("size", "5", "1")
    assert "OBSERVE" in steps["seen"].held_back
    assert len(host.calls) == calls


async def test_a_plan_tells_what_can_not_be_told(cp: Plane, host: WidgetHost) -> None:
    await settled(cp, resource(Widget(size=1), "a"), resource(Widget(size=1), "b"))

    def blind(keys: Any) -> None:
        raise errors.ControlError("the bus is gone")

    host.on_detect = blind
    plan = await cp.loop.Plan(pb.PlanRequest(selection=named("a")))

    assert [(s.resource.name, "the bus is gone" in s.error) for s in plan.steps] == [("a", True)]
    host.on_detect = lambda keys: None


async def test_a_plan_while_a_service_is_away(tmp_path: Path, host: WidgetHost) -> None:
    async with plane(tmp_path, {"widgets": factory(host)}) as first:
        await settled(first, resource(Widget(size=1), "a"))
    async with plane(tmp_path, {}, elsewhere={"widgets": tmp_path / "nowhere.sock"}) as second:
        plan = await second.loop.Plan(pb.PlanRequest())
        assert "does not answer" in plan.steps[0].error


async def test_suspending_wins_over_statuses_that_are_written_all_the_time(
    cp: Plane, host: WidgetHost
) -> None:
    names = [f"w{number}" for number in range(12)]
    await settled(cp, *(resource(Widget(size=1), name) for name in names))
    stop = asyncio.Event()
    turns = 0

    async def noise() -> None:
        nonlocal turns
        while not stop.is_set():
            turns += 1
            for name in names:
                host.unhealthy[name] = f"turn {turns}"
            host.hint(*names)
            await asyncio.sleep(0.001)

    noisy = asyncio.create_task(noise())
    try:
        await cp.until("Widget", "w0", lambda r: condition(r, "Ready").reason == "Unhealthy")
        for _ in range(10):
            done = await cp.loop.Suspend(pb.SuspendRequest(selection=pb.Selection(kind="Widget")))
            assert len(done.resources) == len(names)
            resumed = await cp.loop.Resume(pb.ResumeRequest(selection=pb.Selection(kind="Widget")))
            assert len(resumed.resources) == len(names)
    finally:
        stop.set()
        await noisy
    host.unhealthy.clear()
    host.hint(*names)
    for name in names:
        await cp.until_ready("Widget", name)


async def test_suspending_is_for_what_is_selected(cp: Plane, host: WidgetHost) -> None:
    labelled = resource(Widget(size=1), "labelled")
    labelled.metadata.labels["app"] = "web"
    await settled(cp, labelled, resource(Widget(size=1), "plain"))
    error = await refused(cp.loop.Suspend(pb.SuspendRequest()))
    assert isinstance(error, errors.InvalidRequest), "never everything by an oversight"
    assert isinstance(
        await refused(cp.loop.Suspend(pb.SuspendRequest(selection=named("nobody")))), errors.NotFound
    )

    until = Timestamp(seconds=4_000_000_000)
    request = pb.SuspendRequest(selection=pb.Selection(label_selector="app=web"), until=until)
    done = await cp.loop.Suspend(request)

    assert [ref.name for ref in done.resources] == ["labelled"]
    assert (await cp.get("Widget", "labelled")).policy.suspend_until == until
    assert not (await cp.get("Widget", "plain")).policy.HasField("suspend_until")


async def test_resuming_leaves_no_trace_in_the_policy(cp: Plane) -> None:
    await settled(
        cp, resource(Widget(size=1), "bare"), resource(Widget(size=1), "kept", ignored_fields=["size"])
    )
    await cp.loop.Suspend(pb.SuspendRequest(selection=pb.Selection(kind="Widget")))

    await cp.loop.Resume(pb.ResumeRequest(selection=pb.Selection(kind="Widget")))

    assert not (await cp.get("Widget", "bare")).HasField("policy")
    assert list((await cp.get("Widget", "kept")).policy.ignored_fields) == ["size"]


async def test_the_graph_shows_what_is_missing_and_what_is_ready(cp: Plane) -> None:
    await cp.apply(
        resource(Widget(size=1), "base"),
        resource(Widget(size=1, needs=["base", "absent"]), "above"),
        resource(Widget(size=1), "alone"),
    )
    await cp.until_ready("Widget", "base")
    await cp.until("Widget", "above", lambda r: condition(r, "Ready").reason == "DependencyNotReady")

    whole = (await cp.loop.Graph(pb.GraphRequest())).nodes
    part = (await cp.loop.Graph(pb.GraphRequest(selection=named("base")))).nodes

    found = {node.resource.name: node for node in whole}
    assert set(found) == {"base", "above", "alone", "absent"}
    assert found["absent"].missing
    assert found["absent"].ready == resource_pb2.CONDITION_STATUS_UNKNOWN
    assert found["above"].ready == FALSE
    assert sorted(ref.name for ref in found["above"].depends_on) == ["absent", "base"]
    order = [node.resource.name for node in whole]
    assert order.index("base") < order.index("above")
    assert "alone" not in {node.resource.name for node in part}


async def test_events_can_be_followed_and_limited(cp: Plane, host: WidgetHost) -> None:
    await settled(cp, resource(Widget(size=1), "a"), resource(Widget(size=1), "b"))
    call = cp.loop.Events(pb.EventsRequest(selection=named("a"), follow=True))
    async with asyncio.timeout(10):
        assert (await call.read()).event.reason == "Created"
        host.poke("b", size=5)
        host.poke("a", size=5)
        event = (await call.read()).event
    call.cancel()

    assert (event.resource.name, event.reason) == ("a", "Healed")
    assert 0 < event.duration_ms < 10_000
    limited = [one.event async for one in cp.loop.Events(pb.EventsRequest(limit=1))]
    assert len(limited) == 1
    assert limited[0].reason == "Healed"


async def test_events_by_label(cp: Plane) -> None:
    labelled = resource(Widget(size=1), "labelled")
    labelled.metadata.labels["app"] = "web"
    await settled(cp, labelled, resource(Widget(size=1), "plain"))

    request = pb.EventsRequest(selection=pb.Selection(label_selector="app=web"))

    assert {one.event.resource.name async for one in cp.loop.Events(request)} == {"labelled"}


async def test_a_busy_service_is_not_taken_for_down(
    cp: Plane, host: WidgetHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its threads are at work, so that it can't even say what it is."""
    monkeypatch.setattr(link, "_DESCRIBE_DEADLINE", 0.2)
    gate = threading.Event()
    host.on_apply = lambda change: gate.wait(20) and None
    names = [f"w{number}" for number in range(THREADS)]
    await cp.apply(*(resource(Widget(size=1), name) for name in names))
    await eventually(lambda: len(host.running) == THREADS)

    async def services() -> list[pb.ServiceStatus]:
        return list((await cp.loop.ListServices(pb.ListServicesRequest())).services)

    try:
        [busy] = await services()
        assert not busy.available
        assert busy.error
    finally:
        gate.set()
    for name in names:
        await cp.until_ready("Widget", name, 5)
    [free] = await services()
    assert free.available
    assert free.error == ""
    await settled(cp, resource(Widget(size=2), "after"))


async def test_a_pass_waits_no_longer_than_asked(cp: Plane, host: WidgetHost) -> None:
    gate = threading.Event()
    await settled(cp, resource(Widget(size=1), "a"))
    host.on_apply = lambda change: gate.wait(20) and None
    host.objects["a"].size = 5
    request = pb.ReconcileNowRequest()
    request.wait.FromMilliseconds(100)

    operation = (await cp.loop.ReconcileNow(request)).operation

    assert not operation.done
    gate.set()
    await eventually(lambda: host.objects["a"].size == 1)


async def test_a_pass_over_names_and_labels_looks_at_those_only(cp: Plane, host: WidgetHost) -> None:
    await settled(cp, *(resource(Widget(size=1), name) for name in ("a", "b", "c")))
    host.detects.clear()

    result = await cp.reconcile("wi", "b", "c")

    assert result.resources == 2
    assert sorted(key for keys in host.detects for key in keys) == ["b", "c"]
    assert isinstance(
        await refused(cp.loop.ReconcileNow(pb.ReconcileNowRequest(selection=pb.Selection(names=["a"])))),
        errors.InvalidRequest,
    )


async def test_a_pass_tells_what_failed(cp: Plane, host: WidgetHost) -> None:
    await settled(cp, *(resource(Widget(size=1), name) for name in ("good", "bad")))

    def fail(change: Any) -> None:
        if change.key == "bad":
            raise errors.Forbidden("not allowed")

    host.on_apply = fail
    host.objects["good"].size = host.objects["bad"].size = 9

    result = await cp.reconcile()

    assert (result.resources, result.changed, result.failed) == (2, 1, 1)
