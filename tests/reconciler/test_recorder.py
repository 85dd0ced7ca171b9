"""Statuses, events and what an entry keeps: on a real store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf import any_pb2

from common.errors import ControlError
from nixcc.manager.v1 import manager_pb2 as pb
from plane import resource
from reconciler.catalog import Catalog
from reconciler.conditions import FALSE, READY, TRUE, UNKNOWN, Aspect, find
from reconciler.diff import FieldDiff
from reconciler.events import EventLog
from reconciler.observation import Observation
from reconciler.outcome import Done, Outcome, Retry, Terminal
from reconciler.recorder import LATCHED, Recorder
from reconciler.resources import Entry, Ref, Resources
from reconciler.store import Store, open_store
from reconciler.verdicts import converged, failed
from widgets import Widget

HOST = any_pb2.Any(type_url="t/x", value=b"1")
SAME = Observation(packed=HOST, fingerprint=b"f", generation=1)
OTHER = Observation(packed=HOST, differences=[FieldDiff("size", "1", "2")], fingerprint=b"g", generation=1)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await open_store(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def events(store: Store) -> AsyncIterator[EventLog]:
    made = EventLog(store)
    await made.load()
    yield made
    await made.close()


@pytest.fixture
async def resources(store: Store) -> Resources:
    made = Resources(store, Catalog())
    for name in ("one", "two"):
        new = resource(Widget(size=1), name)
        new.metadata.generation = 1
        new.metadata.key = name
        await made.commit([made.put(new, spec_changed=True, expect=0)])
    return made


@pytest.fixture
def recorder(resources: Resources, events: EventLog) -> Recorder:
    return Recorder(resources, events)


def told(entry: Entry) -> tuple[int, str]:
    condition = find(entry.resource.status, READY)
    assert condition is not None
    return condition.status, condition.reason


async def test_all_of_a_batch_are_written_at_once_and_then_settled(
    recorder: Recorder, resources: Resources
) -> None:
    one, two = (resources.require("Widget", name) for name in ("one", "two"))
    error = ControlError("full")
    settled: dict[Ref, Outcome] = {}

    def settle(ref: Ref, outcome: Outcome) -> None:
        assert one.revision == two.revision, "written together, and before"
        settled[ref] = outcome

    await recorder.settle([(one, SAME, converged(SAME), Done()), (two, OTHER, *failed(error, OTHER))], settle)

    assert settled == {one.ref: Done(), two.ref: Retry(error, 0.0)}
    assert (told(one), told(two)) == ((TRUE, "InSync"), (FALSE, error.reason))
    assert one.resource.status.detected == HOST
    assert [change.path for change in two.resource.status.drift] == ["size"]
    assert (one.synced, two.synced) == (b"f", None)


async def test_a_failure_for_good_latches_until_something_else_comes(
    recorder: Recorder, resources: Resources
) -> None:
    one = resources.require("Widget", "one")

    async def record(outcome: Outcome) -> bytes | None:
        await recorder.settle([(one, OTHER, {}, outcome)], lambda *_: None)
        return one.latched

    assert await record(Terminal(ControlError("no"))) == b"g"
    assert await record(LATCHED) == b"g"
    assert await record(Done()) is None


async def test_what_was_detected_stays_while_nobody_can_tell(
    recorder: Recorder, resources: Resources
) -> None:
    one = resources.require("Widget", "one")
    await recorder.settle([(one, SAME, converged(SAME), Done())], lambda *_: None)

    await recorder.unreachable([one], "the service is away")

    assert told(one) == (UNKNOWN, "ServiceUnavailable")
    assert (one.resource.status.detected, one.synced) == (HOST, None)


async def test_one_status_leaves_what_the_entry_keeps(recorder: Recorder, resources: Resources) -> None:
    one = resources.require("Widget", "one")
    one.latched = b"kept"
    await recorder.write(one, OTHER, {READY: Aspect(FALSE, "Applying", "")})
    assert (told(one), one.latched) == ((FALSE, "Applying"), b"kept")


@pytest.mark.parametrize(
    ("action", "healed", "reason"),
    [
        (pb.ACTION_CREATE, False, "Created"),
        (pb.ACTION_REPLACE, False, "Replaced"),
        (pb.ACTION_UPDATE, False, "Updated"),
        (pb.ACTION_CREATE, True, "Healed"),
    ],
)
async def test_what_a_step_is_called(
    recorder: Recorder,
    resources: Resources,
    events: EventLog,
    action: pb.Action.ValueType,
    healed: bool,
    reason: str,
) -> None:
    one = resources.require("Widget", "one")
    one.noticed = time.monotonic() - 1

    recorder.tell(one, action, "made it", healed=healed)

    [event] = events.newest(lambda _: True)
    assert (event.reason, event.message) == (reason, "made it")
    assert 1_000 <= event.duration_ms < 60_000
    assert one.noticed == 0.0


async def test_removing_goes_on_where_somebody_else_writes(recorder: Recorder, resources: Resources) -> None:
    one = resources.require("Widget", "one")

    async def write_often() -> None:
        for number in range(20):
            if resources.get("Widget", "one") is not None:
                await recorder.write(one, OTHER, {READY: Aspect(FALSE, "Round", str(number))})

    outcome, _ = await asyncio.gather(recorder.remove(one, "Deleted", "gone"), write_often())

    assert outcome == Done(changed=True)
    assert resources.get("Widget", "one") is None
    assert await recorder.remove(one, "Orphaned", "left") == Done(changed=False)
