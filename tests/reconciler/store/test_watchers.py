"""etcd's watch guarantees on recorded histories: ordered, unique, atomic, reliable, resumable, bookmarkable."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import OutOfRange
from reconciler.store import (
    Change,
    Event,
    EventType,
    MemoryStore,
    Put,
    Remove,
    Selector,
    Store,
    open_store,
    watchers,
)
from reconciler.store.watchers import MAX_BEHIND
from watching import DEADLINE, changes, short, through

BURST, CROWD = 10_000, 100
INTERESTS = (
    (None, None, None),
    ("A", None, None),
    ("A", "x", None),
    (None, None, Selector.parse("app=web")),
    ("B", None, Selector.parse("app!=web")),
)
State = dict[tuple[str, str], bytes]

keys = st.tuples(st.sampled_from("AB"), st.sampled_from("xyz"))
puts = st.builds(
    lambda key, value, label: Put(*key, value, {"app": label} if label else {}),
    keys,
    st.binary(max_size=2),
    st.sampled_from(["", "web", "db"]),
)
removals = st.builds(lambda key: Remove(*key), keys)
commits = st.lists(
    puts | removals, min_size=1, max_size=4, unique_by=lambda change: (change.kind, change.name)
)
# A commit, or a pause in which the watchers read.
histories = st.lists(commits | st.none(), min_size=1, max_size=25)


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
@settings(max_examples=40, deadline=None)
@given(history=histories)
def test_guarantees(backend: str, history: list[Sequence[Change] | None]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = MemoryStore() if backend == "memory" else await open_store(Path(folder))
            try:
                await _check(store, history)
            finally:
                await store.close()

    asyncio.run(run())


async def _check(store: Store, history: list[Sequence[Change] | None]) -> None:
    watches = [store.watch(*interest) for interest in INTERESTS]
    told: list[list[Event]] = [[] for _ in watches]

    async def read() -> None:
        for found, watch in zip(told, watches, strict=True):
            try:
                while True:
                    found.append(await asyncio.wait_for(anext(watch), 0.001))
            except TimeoutError:
                pass

    expected: dict[int, dict[int, list[Event]]] = {n: {} for n in range(len(INTERESTS))}
    states: list[State] = [{}]
    for changes_ in history:
        if changes_ is None:
            await read()
            continue
        before = {(r.kind, r.name): r for r in (await store.list()).records}
        revision = await store.commit(changes_)
        after = {(r.kind, r.name): r for r in (await store.list()).records}
        if revision == len(states):
            states.append({key: record.value for key, record in after.items()})
        for number, (kind, name, selector) in enumerate(INTERESTS):
            for key in sorted(before.keys() | after.keys()):
                old, new = before.get(key), after.get(key)
                if old == new or (kind and key[0] != kind) or (name and key[1] != name):
                    continue
                was = old is not None and (selector is None or selector.matches(old.labels))
                now = new is not None and (selector is None or selector.matches(new.labels))
                if now or was:
                    kind_of = (EventType.UPDATED if was else EventType.CREATED) if now else EventType.DELETED
                    event = Event(kind_of, new or old, revision)
                    expected[number].setdefault(revision, []).append(event)
    for number, (found, watch) in enumerate(zip(told, watches, strict=True)):
        flat = [event for events in expected[number].values() for event in events]
        left = len(flat) - sum(event.record is not None for event in found)
        found += await changes_then_mark(watch, left)
        _ordered_unique_atomic_reliable(found, flat)
        await _resumable(store, number, found, flat)
        if number == 0:
            _state_follows(found, states)


async def changes_then_mark(watch: object, left: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(DEADLINE):
        while left:
            event = await anext(watch)  # type: ignore[call-overload]
            found.append(event)
            left -= event.record is not None
        return found


def _ordered_unique_atomic_reliable(found: list[Event], expected: list[Event]) -> None:
    assert [event.revision for event in found] == sorted(event.revision for event in found), "ordered"
    assert [event for event in found if event.record is not None] == expected, "reliable and unique"
    runs = [revision for revision, _ in groupby(event.revision for event in found if event.record)]
    assert len(runs) == len(set(runs)), "atomic: a revision in one piece"
    for index, event in enumerate(found):
        if event.type is EventType.BOOKMARK:
            assert all(later.revision > event.revision for later in found[index + 1 :]), (
                "a bookmark comes after all"
            )


async def _resumable(store: Store, number: int, found: list[Event], expected: list[Event]) -> None:
    for since in {0, store.revision, *(event.revision for event in found)}:
        suffix = [event for event in expected if event.revision > since]
        assert await changes(store.watch(*INTERESTS[number], since), len(suffix)) == suffix, "resumable"


def _state_follows(found: list[Event], states: list[State]) -> None:
    """Whoever applies the events has, after each whole revision, exactly the state of that revision."""
    state: State = {}
    for revision, events in groupby((event for event in found if event.record), lambda event: event.revision):
        for event in events:
            assert event.record is not None
            key = event.record.kind, event.record.name
            if event.type is EventType.DELETED:
                del state[key]
            else:
                state[key] = event.record.value
        assert state == states[revision]


async def test_burst(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """10,000 events with 100 watchers, fast and slow ones: none dies, none misses a last state."""
    names = [f"{number}" for number in range(50)]
    start = time.perf_counter()

    async def follow(number: int) -> tuple[State, int]:
        watch = store.watch("A")
        state: State = {}
        gaps = told = 0
        async with asyncio.timeout(60):
            while told < BURST:
                event = await anext(watch)
                if event.type is EventType.BOOKMARK:
                    told = event.revision
                    # The slow ones let the others run ahead.
                    for _ in range(number % 4 * 40):
                        await asyncio.sleep(0)
                elif event.type is EventType.GAP:
                    gaps += 1
                elif event.type is EventType.DELETED:
                    assert event.record is not None
                    del state["A", event.record.name]
                else:
                    assert event.record is not None
                    state["A", event.record.name] = event.record.value
        return state, gaps

    crowd = [asyncio.ensure_future(follow(number)) for number in range(CROWD)]
    await asyncio.sleep(0)
    for first in range(0, BURST, 500):
        await asyncio.gather(
            *(
                store.commit(
                    [
                        Remove("A", names[number % 50])
                        if number % 50 > 40 and number % 100 > 50
                        else Put("A", names[number % 50], str(number).encode())
                    ]
                )
                for number in range(first, first + 500)
            )
        )
    found = await asyncio.gather(*crowd)
    took = time.perf_counter() - start
    expected = {("A", record.name): record.value for record in (await store.list("A")).records}
    assert store.revision == BURST
    assert all(state == expected for state, _ in found)
    with capsys.disabled():
        gaps = sum(gaps for _, gaps in found)
        print(f"\n{type(store).__name__}: {BURST} commits, {CROWD} watchers: {took:.2f} s, {gaps} gaps")


async def test_a_watch_that_nobody_holds_is_forgotten() -> None:
    store = MemoryStore()
    watching = store._watchers
    never_read = store.watch()
    half_read = store.watch()
    await store.commit([Put("A", "x", b"1")])
    await changes(half_read, 1)
    kept = store.watch()
    assert len(watching) == 3
    del never_read, half_read
    gc.collect()
    assert len(watching) == 1
    assert kept is not None
    cancelled = asyncio.ensure_future(anext(kept))
    await asyncio.sleep(0)
    gc.collect()
    assert len(watching) == 1, "a reader that waits holds its watch"
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    await store.commit([Put("A", "x", b"2")])
    assert short(await changes(kept, 1)) == [("UPDATED", "x")], "a cancelled read loses nothing"
    await kept.aclose()
    assert len(watching) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(kept)


async def test_a_watch_has_one_reader() -> None:
    watch = MemoryStore().watch()
    first = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one reader"):
        await anext(watch)
    await watch.aclose()
    with pytest.raises((StopAsyncIteration, RuntimeError)):
        await first


async def test_an_idle_watcher_gets_bookmarks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "BOOKMARK_SECONDS", 0.05)
    watch = store.watch("A")
    for number in range(3):
        revision = await store.commit([Put("B", "x", str(number).encode())])
        found = await through(watch, revision)
        assert found == [Event(EventType.BOOKMARK, None, revision)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), 0.3)  # the same mark isn't told twice


async def test_a_slow_replay_loses_nothing_and_ends_in_a_gap_only_beyond_the_limit(store: Store) -> None:
    for number in range(1_300):
        await store.commit([Put("A", str(number % 3), str(number).encode())])
    watch = store.watch("A", since=0)
    first = await changes(watch, 5)
    for number in range(1_300, 1_300 + MAX_BEHIND):
        last = await store.commit([Put("A", str(number % 3), str(number).encode())])
    rest = await through(watch, last)
    values = [event.record.value for event in [*first, *rest] if event.record]
    assert values == [str(number).encode() for number in range(1_300 + MAX_BEHIND)]


async def test_history_compacted_under_a_replay(store: Store) -> None:
    for number in range(1_200):
        await store.commit([Put("A", "x", str(number).encode())])
    watch = store.watch("A", since=0)
    await changes(watch, 10)
    await store.compact(keep=10)
    with pytest.raises(OutOfRange, match="list again"):
        await changes(watch, 1_190)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_a_commit_asks_only_watchers_that_it_may_concern(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand clients that each wait for one object cost a large commit no more than one of them does."""
    store = MemoryStore()
    alone = [store.watch("A", f"{number}") for number in range(1_000)]
    everything, nameless = store.watch(), store.watch(None, "7")
    asked = 0
    event = watchers.Interest.event

    def counted(interest: watchers.Interest, step: watchers.Transition) -> Event | None:
        nonlocal asked
        asked += 1
        return event(interest, step)

    monkeypatch.setattr(watchers.Interest, "event", counted)
    size = 1_000
    await store.commit([Put(kind, f"{number}", b"1") for number in range(size // 2) for kind in "AB"])

    assert asked <= size * 2 + size // 2
    for number, watch in enumerate(alone[: size // 2]):
        assert short(await changes(watch, 1)) == [("CREATED", f"{number}")]
    assert len(await changes(everything, size)) == size
    assert short(await changes(nameless, 2)) == [("CREATED", "7")] * 2
    for watch in (*alone, everything, nameless):
        await watch.aclose()
    assert len(store._watchers) == 0
    await store.commit([Put("A", "7", b"2")])
