"""Events: like ones are counted, the newest are kept over a restart, nobody waits for the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from common.errors import HostUnavailable
from nixcc.reconciler.v1 import reconciler_pb2 as pb
from plane import eventually
from reconciler import events
from reconciler.events import KEPT, RING, EventLog
from reconciler.store import MemoryStore, Store, open_store

ONE, TWO = ("Widget", "one"), ("Widget", "two")


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def logging(store: Store, clock: Callable[[], float]) -> AsyncIterator[EventLog]:
    made = EventLog(store, clock=clock)
    await made.load()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def log(clock: Clock) -> AsyncIterator[EventLog]:
    async with logging(MemoryStore(), clock) as made:
        yield made


def everything(event: pb.Event) -> bool:
    return True


def short(found: Sequence[pb.Event]) -> list[tuple[str, str, int]]:
    return [(event.resource.name, event.reason, event.count) for event in found]


async def test_like_events_are_one_with_a_count(log: EventLog, clock: Clock) -> None:
    for number in range(3):
        clock.now = 1_000.0 + number
        log.record(ONE, "Healed", "put back", duration_ms=float(number))
    log.record(TWO, "Healed", "put back")
    log.record(ONE, "ApplyFailed", "put back", warning=True)

    found = log.newest(everything)

    assert short(found) == [("one", "Healed", 3), ("two", "Healed", 1), ("one", "ApplyFailed", 1)]
    assert (found[0].first_time.seconds, found[0].last_time.seconds) == (1_000, 1_002)
    assert found[0].duration_ms == 2.0
    assert not found[1].HasField("duration_ms")
    assert [event.type for event in found] == [
        pb.EVENT_TYPE_NORMAL,
        pb.EVENT_TYPE_NORMAL,
        pb.EVENT_TYPE_WARNING,
    ]


async def test_like_events_long_after_are_new_ones(log: EventLog, clock: Clock) -> None:
    log.record(ONE, "Healed", "put back")
    clock.now += 3_600

    log.record(ONE, "Healed", "put back")

    assert short(log.newest(everything)) == [("one", "Healed", 1)] * 2


async def test_the_newest_are_kept(log: EventLog) -> None:
    for number in range(KEPT + 50):
        log.record(ONE, "Healed", f"{number}")

    found = log.newest(everything)

    assert [event.message for event in found] == [f"{number}" for number in range(50, KEPT + 50)]
    assert [event.message for event in log.newest(everything, 2)] == [f"{KEPT + 48}", f"{KEPT + 49}"]
    assert [event.id for event in found] == sorted({event.id for event in found})


async def test_a_huge_message_is_cut(log: EventLog) -> None:
    log.record(ONE, "ApplyFailed", "x" * 1_000_000)

    assert len(log.newest(everything)[0].message) == 4_096


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_a_restart_finds_them_and_goes_on_counting(backend: str, tmp_path: Path, clock: Clock) -> None:
    store: Store = MemoryStore() if backend == "memory" else await open_store(tmp_path)
    async with logging(store, clock) as first:
        first.record(ONE, "Created", "made", duration_ms=1.5)
        first.record(TWO, "Stalled", "no", warning=True)
        before = first.newest(everything)
    if backend == "sqlite":
        await store.close()
        store = await open_store(tmp_path)
    async with logging(store, clock) as second:
        assert second.newest(everything) == before
        second.record(ONE, "Created", "made")
        second.record(ONE, "Deleted", "gone")

        assert short(second.newest(everything)) == [
            ("one", "Created", 2),
            ("two", "Stalled", 1),
            ("one", "Deleted", 1),
        ]
        ids = [event.id for event in second.newest(everything)]
        assert ids == sorted(set(ids)), "no id is used twice"
    await store.close()


async def test_they_are_written_without_being_asked(clock: Clock) -> None:
    store = MemoryStore()
    async with logging(store, clock) as log:
        log.record(ONE, "Created", "made")

        async def written() -> bool:
            return len(await store.ring_list(RING)) == 1

        await eventually(written, 5)


async def test_a_full_disk_costs_nothing_but_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_FLUSH", 0.01)

    class Full(MemoryStore):
        full = True
        tried = 0

        async def ring_append(self, ring: str, entries: Any) -> Sequence[int]:
            self.tried += 1
            if self.full:
                raise HostUnavailable("the disk is full")
            return await super().ring_append(ring, entries)

    store = Full()
    async with logging(store, clock) as log:
        log.record(ONE, "Created", "made")
        await eventually(lambda: store.tried > 0)
        assert short(log.newest(everything)) == [("one", "Created", 1)]
        store.full = False
        log.record(TWO, "Created", "made")

        async def written() -> bool:
            return len(await store.ring_list(RING)) == 2

        await eventually(written, 5)


async def test_followers_get_what_is_kept_and_then_what_comes(log: EventLog) -> None:
    log.record(ONE, "Created", "made")
    log.record(TWO, "Created", "made")
    seen: list[tuple[str, int]] = []

    async def follow() -> None:
        async for event in log.follow(lambda event: event.resource.name == "one"):
            seen.append((event.reason, event.count))

    reader = asyncio.create_task(follow())
    await eventually(lambda: seen == [("Created", 1)])
    log.record(ONE, "Created", "made")
    log.record(TWO, "Healed", "put back")
    log.record(ONE, "Healed", "put back")

    await eventually(lambda: seen == [("Created", 1), ("Created", 2), ("Healed", 1)])
    await log.close()
    await asyncio.wait_for(reader, 5)


async def test_a_follower_that_does_not_read_is_let_go_of(log: EventLog) -> None:
    stream = log.follow(everything)
    log.record(ONE, "Created", "made")
    assert (await anext(stream)).reason == "Created"

    for number in range(3_000):
        log.record(ONE, "Healed", f"{number}")

    found = [event.message async for event in stream]
    assert found == [f"{number}" for number in range(len(found))], "in order, without a hole"
    assert len(found) < 3_000
    assert not log._followers
