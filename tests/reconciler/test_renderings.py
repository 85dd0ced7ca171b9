from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import WrongState
from common.manager import Action
from lasting import LastingHost, Note, Setting, Snapshot, factory
from nixcc.resource.v1 import resource_pb2
from plane import Plane, condition, eventually, plane, ready, resource
from reconciler import renderings
from reconciler.link import ServiceLink


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderings, "QUIET", 0.3)


@pytest.fixture
def host() -> LastingHost:
    return LastingHost()


@pytest.fixture
async def cp(tmp_path: Path, host: LastingHost) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"lasting": factory(host)}) as started:
        yield started


def snapshot() -> resource_pb2.Resource:
    return resource(Snapshot(text="x"), "system")


async def test_what_lasts_awaits_the_snapshot_and_is_ready_with_it(cp: Plane, host: LastingHost) -> None:
    await cp.apply(resource(Setting(text="a"), "one"))
    waiting = await cp.until("Setting", "one", lambda r: bool(condition(r, "Ready").reason))
    assert condition(waiting, "Ready").reason == "AwaitsGeneration"

    await cp.apply(snapshot())

    await cp.until_ready("Setting", "one")
    assert host.held() == {"one"}
    assert host.active is not None
    assert host.active.resources[0].options_json == '{"texts":{"one":"a"}}'


async def test_changes_within_the_quiet_time_become_one_snapshot(cp: Plane, host: LastingHost) -> None:
    await cp.apply(resource(Setting(text="a"), "one"), snapshot())
    await cp.until_ready("Setting", "one")
    before = len(host.taken)

    for number in range(5):
        await cp.apply(resource(Setting(text=f"b{number}"), "one"), resource(Setting(text="c"), f"n{number}"))
        await asyncio.sleep(0.02)
    await eventually(lambda: len(host.held()) == 6)

    assert len(host.taken) == before + 1
    for name in ("one", "n0", "n4"):
        await cp.until_ready("Setting", name)


async def test_a_set_with_its_snapshot_is_taken_at_once_and_whole(cp: Plane, host: LastingHost) -> None:
    await cp.apply(snapshot(), *(resource(Setting(text="a"), f"s{i}") for i in range(20)))

    await cp.until_ready("Snapshot", "system")

    assert [len(taken.resources) for taken in host.taken] == [20]


async def test_a_driver_acts_until_the_snapshot_holds_its_object_and_then_only_looks(
    cp: Plane, host: LastingHost
) -> None:
    await cp.apply(resource(Note(text="a"), "one"))
    await cp.until_ready("Note", "one")
    assert host.applied == [("Note", Action.CREATE, "one")]

    await cp.apply(snapshot())
    await eventually(lambda: host.held() == {"one"})
    del host.notes["one"]
    await cp.reconcile("Note")

    found = await cp.until("Note", "one", lambda r: not ready(r))
    assert condition(found, "Ready").reason == "AwaitsGeneration"
    assert host.applied == [("Note", Action.CREATE, "one")]


async def test_it_only_looks_after_a_restart_too(tmp_path: Path, host: LastingHost) -> None:
    async with plane(tmp_path, {"lasting": factory(host)}) as cp:
        await cp.apply(resource(Note(text="a"), "one"), snapshot())
        await cp.until_ready("Snapshot", "system")
        await cp.until_ready("Note", "one")
    before = list(host.applied)
    host.notes.clear()

    async with plane(tmp_path, {"lasting": factory(host)}) as cp:
        await cp.until("Note", "one", lambda r: condition(r, "Ready").reason == "AwaitsGeneration")

    assert host.applied == before


async def test_what_is_deleted_leaves_with_the_next_snapshot(cp: Plane, host: LastingHost) -> None:
    await cp.apply(
        resource(Setting(text="a"), "one"), resource(Setting(text="b"), "two"), resource(Note(text="c"), "n")
    )
    await cp.apply(snapshot())
    await eventually(lambda: host.held() == {"one", "two", "n"})

    await cp.delete("Setting", "one")
    await cp.delete("Note", "n")

    await cp.until_gone("Setting", "one")
    await cp.until_gone("Note", "n")
    assert host.held() == {"two"}
    assert ("Note", Action.DELETE, "n") in host.applied


async def test_without_a_snapshot_what_lasts_can_be_deleted_at_once(cp: Plane, host: LastingHost) -> None:
    await cp.apply(resource(Setting(text="a"), "one"))
    await cp.delete("Setting", "one")
    await cp.until_gone("Setting", "one")


@pytest.mark.parametrize("policy", [{"drift": resource_pb2.DRIFT_POLICY_OBSERVE}, {"suspended": True}])
async def test_what_is_only_observed_stays_in_the_snapshot_as_it_is(
    cp: Plane, host: LastingHost, policy: dict[str, Any]
) -> None:
    await cp.apply(resource(Setting(text="a"), "one"), snapshot())
    await cp.until_ready("Setting", "one")

    changed = resource(Setting(text="b"), "one")
    never = resource(Setting(text="b"), "never")
    for one in (changed, never):
        if "drift" in policy:
            one.policy.drift = policy["drift"]
        else:
            one.policy.suspend_until.FromJsonString("2100-01-01T00:00:00Z")
    await cp.apply(changed, never, resource(Setting(text="c"), "other"))

    await cp.until_ready("Setting", "other")
    assert host.active is not None
    assert {one.name: one.options_json for one in host.active.resources} == {
        "one": '{"texts":{"one":"a"}}',
        "other": '{"texts":{"other":"c"}}',
    }


async def test_the_whole_is_not_shown_as_part_of_the_spec(cp: Plane, host: LastingHost) -> None:
    await cp.apply(resource(Setting(text="a"), "one"), snapshot())
    await cp.until_ready("Snapshot", "system")

    stored = await cp.get("Snapshot", "system")

    spec = Snapshot.FromString(stored.spec.value)
    assert not spec.content.resources
    assert stored.metadata.generation == 1


async def test_what_no_option_can_say_stays_live(cp: Plane, host: LastingHost) -> None:
    await cp.apply(resource(Note(text="unspeakable"), "one"), resource(Note(text="a"), "two"), snapshot())

    await cp.until_ready("Snapshot", "system")
    await cp.until_ready("Note", "one")
    assert host.held() == {"two"}


async def test_what_can_only_last_and_cannot_be_said_stops_the_snapshot(cp: Plane, host: LastingHost) -> None:
    await cp.apply(resource(Setting(text="unspeakable"), "one"), snapshot())

    found = await cp.until("Snapshot", "system", lambda r: bool(condition(r, "Stalled").reason))

    assert "Setting one text: no option can say it" in condition(found, "Ready").message
    assert host.taken == []
    await cp.apply(resource(Setting(text="well"), "one"))
    await cp.until_ready("Snapshot", "system")
    assert host.held() == {"one"}


async def test_a_spec_that_changes_while_it_is_rendered_is_rendered_again(
    cp: Plane, host: LastingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = ServiceLink.render
    changed = False

    async def slow(link: ServiceLink, request: Any) -> Any:
        nonlocal changed
        response = await render(link, request)
        if not changed:
            changed = True
            await cp.apply(resource(Setting(text="new"), "one"))
        return response

    monkeypatch.setattr(ServiceLink, "render", slow)
    await cp.apply(resource(Setting(text="old"), "one"), snapshot())

    await cp.until("Setting", "one", lambda r: ready(r) and r.metadata.generation == 2)
    assert changed
    assert host.active is not None
    assert host.active.resources[0].options_json == '{"texts":{"one":"new"}}'


async def test_who_waits_is_told_whether_a_snapshot_is_coming(cp: Plane, host: LastingHost) -> None:
    await cp.apply(resource(Setting(text="a"), "one"))
    alone = await cp.until("Setting", "one", lambda r: bool(condition(r, "Ready").reason))
    assert not condition(alone, "Reconciling").reason

    host.error = WrongState("it did not come up")
    await cp.apply(snapshot())
    await cp.until("Snapshot", "system", lambda r: condition(r, "Stalled").reason == "WrongState")
    await cp.until("Setting", "one", lambda r: not condition(r, "Reconciling").reason)

    host.error = None
    changed = resource(Setting(text="b"), "one")
    await cp.apply(changed)
    await cp.until_ready("Setting", "one")
