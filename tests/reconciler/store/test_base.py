"""One suite for every store. The names of the first half are those of COSI's pkg/state/conformance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from common.errors import Conflict, HostUnavailable, InvalidRequest, OutOfRange
from reconciler.store import Event, EventType, Put, Record, Remove, Selector, Store
from reconciler.store.base import KEPT_ENTRIES
from reconciler.store.watchers import MAX_BEHIND
from watching import changes, short, through, until

KIND = "File"


def file(name: str, value: bytes = b"1", **labels: str) -> Put:
    return Put(KIND, name, value, labels)


async def must(store: Store, name: str, kind: str = KIND) -> Record:
    found = await store.get(kind, name)
    assert found is not None
    return found


async def teardown(store: Store, name: str) -> Record:
    """What the engine does: mark it, let the finalizers go, then remove it."""
    found = await must(store, name)
    await store.commit(
        [Put(KIND, name, b"down:" + found.value, found.labels, expect_revision=found.revision)]
    )
    return await must(store, name)


async def test_crd(store: Store) -> None:
    assert await store.get(KIND, "a") is None
    assert (await store.list(KIND)).records == []
    with pytest.raises(Conflict):
        await store.commit([Put(KIND, "a", b"1", expect=3)])
    made = await store.commit([Put(KIND, "a", b"1", {"k": "v"}, expect=0), file("b")])
    found = await must(store, "a")
    assert found == Record(KIND, "a", b"1", {"k": "v"}, made, made, made)
    with pytest.raises(Conflict, match="must not exist") as told:
        await store.commit([Put(KIND, "a", b"2", expect=0)])
    assert told.value.next_step
    assert [record.name for record in (await store.list(KIND)).records] == ["a", "b"]
    assert (await store.list("User")).records == []
    removed = await store.commit([Remove(KIND, "a", expect=found.etag)])
    assert removed == made + 1 == store.revision
    assert await store.get(KIND, "a") is None
    with pytest.raises(Conflict):
        await store.commit([Remove(KIND, "a", expect=found.etag)])
    assert await store.commit([Remove(KIND, "a")]) == removed, "removing the absent is no change"
    again = await store.commit([Put(KIND, "a", b"3", expect=0)])
    assert (await must(store, "a")).create_revision == again


async def test_update_with_conflicts(store: Store) -> None:
    await store.commit([file("n", b"0")])

    async def add() -> int:
        tries = 0
        while True:
            tries += 1
            found = await must(store, "n")
            await asyncio.sleep(0)
            try:
                await store.commit([Put(KIND, "n", str(int(found.value) + 1).encode(), expect=found.etag)])
            except Conflict:
                continue
            return tries

    tries = await asyncio.gather(*(add() for _ in range(30)))
    assert (await must(store, "n")).value == b"30"
    assert max(tries) > 1, "nothing ever conflicted"


async def test_watch_kind(store: Store) -> None:
    await store.commit([file("old")])
    events = store.watch(KIND)
    await store.commit([file("a"), Put("User", "x", b"")])
    await store.commit([file("a", b"2")])
    await store.commit([Put("User", "y", b"")])
    await store.commit([Remove(KIND, "a")])
    found = await changes(events, 3)
    assert short(found) == [("CREATED", "a"), ("UPDATED", "a"), ("DELETED", "a")]
    assert found[2].record is not None
    assert found[2].record.value == b"2", "a deletion carries what there was last"


async def test_watch_kind_with_labels(store: Store) -> None:
    """An object that begins to match is created to the watcher, one that stops is deleted."""
    events = store.watch(KIND, selector=Selector.parse("app=web"))
    await store.commit([file("a", b"1", app="web"), file("b", b"1", app="db")])
    await store.commit([file("a", b"2", app="db"), file("b", b"2", app="web")])
    await store.commit([file("a", b"3", app="db")])
    await store.commit([file("b", b"3", app="web")])
    last = await store.commit([Remove(KIND, "a"), Remove(KIND, "b")])
    assert short(await through(events, last)) == [
        ("CREATED", "a"),
        ("DELETED", "a"),
        ("CREATED", "b"),
        ("UPDATED", "b"),
        ("DELETED", "b"),
    ]


async def test_concurrent_finalizers(store: Store) -> None:
    await store.commit([file("a", b"")])

    async def add(which: str) -> None:
        while True:
            found = await must(store, "a")
            held = set(found.value.decode().split()) | {which}
            try:
                await store.commit([Put(KIND, "a", " ".join(sorted(held)).encode(), expect=found.etag)])
                return
            except Conflict:
                await asyncio.sleep(0)

    await asyncio.gather(*(add(f"f{n}") for n in range(10)))
    assert (await must(store, "a")).value.split() == sorted(f"f{n}".encode() for n in range(10))


async def test_watch_for(store: Store) -> None:
    await store.commit([file("a")])
    events = store.watch(KIND, "a")
    waiting = asyncio.ensure_future(
        until(events, lambda event: event.record is not None and event.record.value == b"5")
    )
    for number in range(2, 6):
        await store.commit([file("a", str(number).encode()), file("other", b"5")])
    assert (await waiting)[-1].revision == store.revision
    gone = asyncio.ensure_future(until(events, lambda event: event.type is EventType.DELETED))
    await store.commit([Remove(KIND, "a")])
    assert (await gone)[-1].revision == store.revision


async def test_watch(store: Store) -> None:
    events = store.watch(KIND, "a")
    await store.commit([file("a"), file("b")])
    await store.commit([file("b", b"2")])
    last = await store.commit([file("a", b"2")])
    found = await through(events, last)
    assert short(found) == [("CREATED", "a"), ("UPDATED", "a")]
    assert found[-1].revision == last


@pytest.mark.parametrize("kind", [None, KIND], ids=["all", "kind"])
async def test_watch_with_bookmarks(store: Store, kind: str | None) -> None:
    """Also WatchKindWithBookmarks: resuming from each bookmark gives the exact suffix."""
    chance = random.Random(1)
    events = store.watch(kind)
    told = []
    for number in range(40):
        writes = [
            file(f"{chance.randrange(6)}", str(number).encode()),
            Put("User", "u", str(number).encode()),
        ]
        if number % 7 == 6:
            names = {record.name for record in (await store.list(KIND)).records}
            writes = [Remove(KIND, chance.choice(sorted(names)))]  # type: ignore[list-item]
        told += await through(events, await store.commit(writes))
    marks = [index for index, event in enumerate(told) if event.type is EventType.BOOKMARK]
    assert len(marks) >= 40
    for index in marks:
        resumed = store.watch(kind, since=told[index].revision)
        suffix = [event for event in told[index:] if event.record is not None]
        found = await changes(resumed, len(suffix))
        assert found == suffix
    with pytest.raises(OutOfRange):
        store.watch(since=store.revision + 1)


async def test_parallel_destroy(store: Store) -> None:
    await store.commit([file(f"{number}") for number in range(20)])
    found = (await store.list(KIND)).records

    async def destroy(record: Record) -> bool:
        try:
            await store.commit([Remove(KIND, record.name, expect_revision=record.revision)])
        except Conflict:
            return False
        return True

    done = await asyncio.gather(*(destroy(record) for record in [*found, *found]))
    assert sum(done) == 20
    assert (await store.list()).records == []


async def test_teardown_destroy(store: Store) -> None:
    await store.commit([file("a")])
    events = store.watch(KIND)
    down = await teardown(store, "a")
    await store.commit([Remove(KIND, "a", expect_revision=down.revision)])
    assert short(await changes(events, 2)) == [("UPDATED", "a"), ("DELETED", "a")]


async def test_update(store: Store) -> None:
    with pytest.raises(Conflict, match="does not exist"):
        await store.commit([Put(KIND, "a", b"", expect_revision=1)])
    first = await store.commit([file("a")])
    second = await store.commit([Put(KIND, "a", b"2", expect_revision=first)])
    for wrong in (first, second + 1):
        with pytest.raises(Conflict):
            await store.commit([Put(KIND, "a", b"3", expect_revision=wrong)])
        with pytest.raises(Conflict):
            await store.commit([Put(KIND, "a", b"3", expect=wrong)])
    assert (await must(store, "a")).value == b"2"
    down = await teardown(store, "a")
    status = await store.commit([Put(KIND, "a", b"down", expect_revision=down.revision, spec_changed=False)])
    found = await must(store, "a")
    assert (found.revision, found.etag, found.create_revision) == (status, down.etag, first)


async def test_labels(store: Store) -> None:
    await store.commit([file("a", b"1", app="web", tier="1"), file("b", b"1", app="db"), file("c")])

    async def names(text: str) -> str:
        page = await store.list(KIND, selector=Selector.parse(text))
        return "".join(record.name for record in page.records)

    assert await names("app") == "ab"
    assert await names("!app") == "c"
    assert await names("app=web,tier in (1,2)") == "a"
    assert await names("app!=web") == "bc"
    assert await names("app notin (web,db)") == "c"
    await store.commit([file("a")])
    assert await names("app") == "b"


async def test_id_query(store: Store) -> None:
    names = ["a", "a/b", "a-b", "b", "ä", "/etc/motd", "z" * 253]
    await store.commit([file(name) for name in names])
    assert [record.name for record in (await store.list(KIND)).records] == sorted(names)
    after = (await store.list(KIND, after=(KIND, "a"), limit=2)).records
    assert [record.name for record in after] == ["a-b", "a/b"]
    for name in names:
        assert (await must(store, name)).name == name


async def test_teardown_and_destroy(store: Store) -> None:
    await store.commit([file("a", b"held")])

    async def owner() -> None:
        events = store.watch(KIND, "a", since=0)
        await until(
            events, lambda event: event.record is not None and event.record.value.startswith(b"down:")
        )
        found = await must(store, "a")
        await store.commit([Remove(KIND, "a", expect_revision=found.revision)])

    waiting = asyncio.ensure_future(owner())
    gone = store.watch(KIND, "a")
    await teardown(store, "a")
    await until(gone, lambda event: event.type is EventType.DELETED)
    await waiting
    assert await store.get(KIND, "a") is None


async def test_modify(store: Store) -> None:
    """Create, or change what is there; nothing is lost between two writers."""

    async def modify(letter: bytes) -> None:
        while True:
            found = await store.get(KIND, "a")
            value = letter if found is None else found.value + letter
            expect = 0 if found is None else found.etag
            try:
                await store.commit([Put(KIND, "a", value, expect=expect)])
                return
            except Conflict:
                await asyncio.sleep(0)

    await asyncio.gather(*(modify(bytes([letter])) for letter in b"abcdefgh"))
    assert sorted((await must(store, "a")).value) == sorted(b"abcdefgh")


async def test_list_at_a_revision(store: Store) -> None:
    chance = random.Random(2)
    pages = {0: []}
    for number in range(60):
        name = f"{chance.randrange(8)}"
        known = {record.name for record in pages[store.revision]}
        gone = name in known and chance.random() < 0.4
        await store.commit(
            [Remove(KIND, name) if gone else file(name, str(number).encode(), n=str(number % 3))]
        )
        pages[store.revision] = list((await store.list()).records)
    for revision, expected in pages.items():
        page = await store.list(revision=revision)
        assert (page.revision, list(page.records)) == (revision, expected)
        assert list((await store.list(KIND, revision=revision)).records) == expected
        assert not (await store.list("User", revision=revision)).records
        chosen = await store.list(selector=Selector.parse("n=1"), revision=revision)
        assert list(chosen.records) == [record for record in expected if record.labels["n"] == "1"]
    for wrong in (-1, store.revision + 1):
        with pytest.raises(OutOfRange):
            await store.list(revision=wrong)


@pytest.mark.parametrize("limit", [1, 7, 50, 100])
async def test_paging_at_one_revision_while_writes_go_on(store: Store, limit: int) -> None:
    await store.commit([file(f"{number:03}", b"old", n=str(number % 2)) for number in range(50)])
    expected = (await store.list(selector=Selector.parse("n=1"))).records
    page = await store.list(KIND, limit=limit, selector=Selector.parse("n=1"))
    found, revision = list(page.records), page.revision
    while page.next:
        await store.commit([file(f"{len(found):03}", b"new"), file(f"new{len(found)}"), Remove(KIND, "049")])
        page = await store.list(
            KIND, limit=limit, after=page.next, revision=revision, selector=Selector.parse("n=1")
        )
        assert page.revision == revision
        assert len(page.records) <= limit
        found += page.records
    assert found == expected


async def test_compaction(store: Store) -> None:
    await store.commit([file("kept"), file("gone")])
    await store.commit([Remove(KIND, "gone")])
    for number in range(30):
        await store.commit([file("a", str(number).encode()), file(f"once{number}")])
    before = {revision: list((await store.list(revision=revision)).records) for revision in range(22, 33)}
    await store.compact(keep=10)
    for wrong in (0, 1, 21):
        with pytest.raises(OutOfRange, match="22 to 32 are") as told:
            await store.list(revision=wrong)
        assert "list again" in told.value.next_step
        with pytest.raises(OutOfRange):
            store.watch(since=wrong)
    for revision, records in before.items():
        assert list((await store.list(revision=revision)).records) == records
    found = await changes(store.watch(KIND, "a", since=22), 10)
    assert [event.record.value for event in found if event.record] == [str(n).encode() for n in range(20, 30)]
    await store.compact(keep=100)
    await store.compact(keep=0)
    assert (await store.list(revision=32)).records == before[32]
    with pytest.raises(OutOfRange):
        await store.list(revision=31)
    await store.commit([file("after")])


async def test_all_or_nothing(store: Store) -> None:
    first = await store.commit([file("a"), file("b")])
    with pytest.raises(Conflict):
        await store.commit([file("c"), Remove(KIND, "a"), Put(KIND, "b", b"2", expect=0)])
    assert store.revision == first
    assert [(record.name, record.value) for record in (await store.list()).records] == [
        ("a", b"1"),
        ("b", b"1"),
    ]


async def test_empty_commit(store: Store) -> None:
    assert await store.commit([]) == 0
    await store.commit([file("a")])
    assert await store.commit([]) == store.revision == 1


async def test_callable_value(store: Store) -> None:
    await store.commit([file("a")])
    revision = await store.commit([Put(KIND, "b", lambda revision: f"at {revision}".encode())])
    assert (await must(store, "b")).value == f"at {revision}".encode()


async def test_rings(store: Store) -> None:
    assert await store.ring_list("log") == []
    assert await store.ring_append("log", [(None, b"a"), (None, b"b"), (None, b"c")]) == [1, 2, 3]
    await store.ring_append("other", [(None, b"x")])
    assert await store.ring_append("log", [(2, b"B"), (None, b"d"), (9, b"i"), (None, b"j")]) == [2, 4, 9, 10]
    everything = [(1, b"a"), (2, b"B"), (3, b"c"), (4, b"d"), (9, b"i"), (10, b"j")]
    assert list(await store.ring_list("log")) == everything
    assert list(await store.ring_list("log", limit=2)) == everything[-2:]
    assert list(await store.ring_list("log", after=3)) == everything[3:]
    assert list(await store.ring_list("log", after=3, limit=1)) == everything[-1:]
    assert store.revision == 0, "rings have no revision"
    many = [(None, str(number).encode()) for number in range(KEPT_ENTRIES)]
    await store.ring_append("log", many)
    kept = await store.ring_list("log")
    assert len(kept) == KEPT_ENTRIES
    assert kept[0] == (11, b"0")


async def test_documents(store: Store) -> None:
    assert await store.document_get("b", "k") is None
    await store.document_put("b", "k", b"1")
    await store.document_put("b", "k", b"2")
    await store.document_put("b", "empty", b"")
    await store.document_put("c", "k", b"3")
    assert await store.document_get("b", "k") == b"2"
    assert list(await store.document_list("b")) == [("empty", b""), ("k", b"2")]
    await store.document_put("b", "k", None)
    await store.document_put("b", "k", None)
    assert list(await store.document_list("b")) == [("empty", b"")]
    assert store.revision == 0


async def test_gap(store: Store) -> None:
    """Behind by more than 1,024: the latest state per key with deletions, a bookmark, then live again."""
    await store.commit([file("dies"), file("lives")])
    events = store.watch(KIND)
    for number in range(MAX_BEHIND):
        await store.commit([file(f"{number % 5}", str(number).encode())])
    await store.commit([Remove(KIND, "dies")])
    await store.commit([file("brief")])
    await store.commit([Remove(KIND, "brief")])
    last = await store.commit([file("lives", b"2")])
    told = await through(events, last)
    assert told[0].type is EventType.GAP
    assert short(told) == [
        *(("CREATED", f"{(MAX_BEHIND - 5 + n) % 5}") for n in range(5)),
        ("DELETED", "dies"),
        ("UPDATED", "lives"),
    ]
    assert told[-1].revision == last
    assert [event.revision for event in told] == sorted(event.revision for event in told)
    await store.commit([file("live")])
    assert short(await changes(events, 1)) == [("CREATED", "live")]


async def test_gap_in_which_everything_came_and_went(store: Store) -> None:
    events = store.watch(KIND)
    for _ in range(MAX_BEHIND // 2 + 1):
        await store.commit([file("brief")])
        last = await store.commit([Remove(KIND, "brief")])
    told = await through(events, last)
    assert [event.type for event in told] == [EventType.GAP, EventType.BOOKMARK]
    assert 0 < told[0].revision <= told[1].revision == last
    resumed = store.watch(since=told[1].revision)
    await store.commit([file("next")])
    assert short(await changes(resumed, 1)) == [("CREATED", "next")]


async def test_exactly_the_limit_behind_is_no_gap(store: Store) -> None:
    events = store.watch()
    for number in range(MAX_BEHIND):
        last = await store.commit([file("a", str(number).encode())])
    told = await through(events, last)
    assert [event.type for event in told[1:-1]] == [EventType.UPDATED] * (MAX_BEHIND - 1)


async def test_the_same_object_twice_in_a_commit(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        await store.commit([file("a"), file("b"), Remove(KIND, "a")])
    assert store.revision == 0


async def test_a_value_that_fails_fails_only_its_commit(store: Store) -> None:
    def broken(revision: int) -> bytes:
        raise ValueError("no value")

    outcomes = await asyncio.gather(
        store.commit([file("a")]),
        store.commit([file("x"), Put(KIND, "y", broken)]),
        store.commit([file("b")]),
        store.commit([Put(KIND, "z", 3)]),  # type: ignore[arg-type]
        store.commit([file("c")]),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [int, ValueError, int, TypeError, int]
    assert [record.name for record in (await store.list()).records] == ["a", "b", "c"]
    assert store.revision == 3


async def test_closing_ends_watches_and_refuses_writes(store: Store) -> None:
    events = store.watch()
    waiting = asyncio.ensure_future(_rest(events))
    last = [store.commit([file(f"{number}")]) for number in range(3)]
    await asyncio.gather(*last)
    await store.close()
    async with asyncio.timeout(5):
        assert ("CREATED", "2") in short(await waiting)
    for refused in (
        store.commit([file("late")]),
        store.document_put("b", "k", b""),
        store.ring_append("r", [(None, b"")]),
    ):
        with pytest.raises(HostUnavailable, match="closed"):
            await asyncio.wait_for(refused, 5)
    await store.close()


async def _rest(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]
