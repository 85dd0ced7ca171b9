"""A store in memory: the reference that the durable ones are held against, and enough for tests of the loop."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence

from common.errors import Conflict, OutOfRange
from reconciler.store.base import KEPT_ENTRIES, KEPT_REVISIONS, Change, Event, Page, Put, Record
from reconciler.store.selector import Selector
from reconciler.store.watchers import Interest, Transition, Watchers

Key = tuple[str, str]


def check(change: Change, found: Record | None) -> None:
    """Raises Conflict where the object is not as the change expects it."""
    etag, revision = (0, 0) if found is None else (found.etag, found.revision)
    for name, expected, actual in (
        ("etag", change.expect, etag),
        ("revision", change.expect_revision, revision),
    ):
        if expected is not None and expected != actual:
            there = f"has {name} {actual}" if found is not None else "does not exist"
            wanted = f"not {expected}" if expected else "but must not exist"
            raise Conflict(
                f"{change.kind} {change.name} {there}, {wanted}",
                next_step="read it again and apply your change to what is there now",
            )


def written(put: Put, found: Record | None, revision: int) -> Record:
    """The record that a Put makes at a revision."""
    value = put.value(revision) if callable(put.value) else put.value
    fresh = found is None or put.spec_changed
    etag = revision if fresh or found is None else found.etag
    created = revision if found is None else found.create_revision
    return Record(put.kind, put.name, value, dict(put.labels), revision, etag, created)


def page(
    records: Sequence[Record],
    revision: int,
    selector: Selector | None,
    limit: int,
    after: Key | None,
) -> Page:
    """One page of records that are sorted by kind and name."""
    start = 0 if after is None else bisect_right(records, after, key=lambda record: (record.kind, record.name))
    found: list[Record] = []
    for record in records[start:]:
        if selector is not None and not selector.matches(record.labels):
            continue
        if limit and len(found) == limit:
            return Page(found, revision, (found[-1].kind, found[-1].name))
        found.append(record)
    return Page(found, revision)


def out_of_range(revision: int, oldest: int, newest: int) -> OutOfRange:
    """The error for a revision that is not kept."""
    return OutOfRange(
        f"revision {revision} is not kept; {oldest} to {newest} are", next_step="list again and watch from there"
    )


class MemoryStore:
    """Keeps everything in dictionaries."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._log: list[tuple[int, list[Transition]]] = []
        self._revision = 0
        self._compacted = 0
        self._rings: dict[str, dict[int, bytes]] = {}
        self._documents: dict[str, dict[str, bytes]] = {}
        self._watchers = Watchers(self._replay)

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._revision

    async def get(self, kind: str, name: str) -> Record | None:
        """The object, or None."""
        return self._records.get((kind, name))

    async def list(
        self,
        kind: str | None = None,
        *,
        selector: Selector | None = None,
        limit: int = 0,
        after: Key | None = None,
        revision: int | None = None,
    ) -> Page:
        """Objects as of a revision."""
        at = self._revision if revision is None else revision
        if not self._compacted <= at <= self._revision:
            raise out_of_range(at, self._compacted, self._revision)
        state = dict(self._records)
        for later, steps in reversed(self._log):
            if later <= at:
                break
            for step in steps:
                record = step.after or step.before
                assert record is not None
                if step.before is None:
                    state.pop((record.kind, record.name), None)
                else:
                    state[record.kind, record.name] = step.before
        records = [state[key] for key in sorted(state) if not kind or key[0] == kind]
        return page(records, at, selector, limit, after)

    async def commit(self, changes: Sequence[Change]) -> int:
        """All or nothing, one revision."""
        steps: list[Transition] = []
        revision = self._revision + 1
        for change in changes:
            found = self._records.get((change.kind, change.name))
            check(change, found)
            if isinstance(change, Put):
                steps.append(Transition(found, written(change, found, revision), revision))
            elif found is not None:
                steps.append(Transition(found, None, revision))
        if not steps:
            return self._revision
        for step in steps:
            record = step.after or step.before
            assert record is not None
            if step.after is None:
                del self._records[record.kind, record.name]
            else:
                self._records[record.kind, record.name] = step.after
        self._revision = revision
        self._log.append((revision, steps))
        self._watchers.publish(revision, steps)
        if len(self._log) > 2 * KEPT_REVISIONS:
            await self.compact()
        return revision

    def watch(
        self,
        kind: str | None = None,
        name: str | None = None,
        selector: Selector | None = None,
        since: int | None = None,
    ) -> AsyncIterator[Event]:
        """Every change after `since`, then live."""
        if since is not None and not self._compacted <= since <= self._revision:
            raise out_of_range(since, self._compacted, self._revision)
        return self._watchers.watch(Interest(kind, name, selector), since)

    async def ring_append(self, ring: str, entries: Sequence[tuple[int | None, bytes]]) -> Sequence[int]:
        """Adds entries."""
        rows = self._rings.setdefault(ring, {})
        numbers = []
        for number, value in entries:
            chosen = number if number is not None else max(rows, default=0) + 1
            rows[chosen] = value
            numbers.append(chosen)
        for old in sorted(rows)[: max(0, len(rows) - KEPT_ENTRIES)]:
            del rows[old]
        return numbers

    async def ring_list(
        self, ring: str, *, limit: int = 0, after: int = 0
    ) -> Sequence[tuple[int, bytes]]:
        """Entries, oldest first."""
        rows = sorted((n, value) for n, value in self._rings.get(ring, {}).items() if n > after)
        return rows[-limit:] if limit else rows

    async def document_put(self, bucket: str, key: str, value: bytes | None) -> None:
        """Writes a document."""
        rows = self._documents.setdefault(bucket, {})
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value

    async def document_get(self, bucket: str, key: str) -> bytes | None:
        """The document, or None."""
        return self._documents.get(bucket, {}).get(key)

    async def document_list(self, bucket: str) -> Sequence[tuple[str, bytes]]:
        """All of a bucket, by key."""
        return sorted(self._documents.get(bucket, {}).items())

    async def compact(self, keep: int = KEPT_REVISIONS) -> None:
        """Forgets old revisions."""
        self._compacted = max(self._compacted, self._revision - keep)
        self._log = [row for row in self._log if row[0] > self._compacted]

    async def close(self) -> None:
        """Ends the watches."""
        self._watchers.close()

    async def _replay(self, since: int, until: int) -> Sequence[Transition]:
        if since < self._compacted:
            raise out_of_range(since, self._compacted, self._revision)
        return [step for revision, steps in self._log if since < revision <= until for step in steps]
