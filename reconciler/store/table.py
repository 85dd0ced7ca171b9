"""What all stores share: the table of current records, and what a commit does to it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence

from common.errors import Conflict, HostUnavailable, InvalidRequest, OutOfRange, Violation
from reconciler.store.base import Change, Page, Put, Record
from reconciler.store.selector import Selector
from reconciler.store.watchers import Key, Transition


class Table:
    """Current records by key, and their keys in order, so that a page costs what it holds."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._records = {(record.kind, record.name): record for record in records}
        self._keys = sorted(self._records)

    def get(self, key: Key) -> Record | None:
        """The record, or None."""
        return self._records.get(key)

    def copy(self) -> dict[Key, Record]:
        """All records by key."""
        return dict(self._records)

    def apply(self, steps: Sequence[Transition]) -> None:
        """Shows what was committed."""
        for step in steps:
            key = step.key
            if step.after is None:
                del self._records[key]
                del self._keys[bisect_left(self._keys, key)]
                continue
            if key not in self._records:
                insort(self._keys, key)
            self._records[key] = step.after

    def page(
        self, revision: int, kind: str | None, selector: Selector | None, limit: int, after: Key | None
    ) -> Page:
        """One page of what there is now, which is `revision`."""
        return fill(self._from(kind, after), revision, selector, limit)

    def _from(self, kind: str | None, after: Key | None) -> Iterator[Record]:
        start = bisect_left(self._keys, (kind, "")) if kind else 0
        if after is not None:
            start = max(start, bisect_right(self._keys, after))
        for index in range(start, len(self._keys)):
            key = self._keys[index]
            if kind and key[0] != kind:
                return
            yield self._records[key]


def fill(records: Iterable[Record], revision: int, selector: Selector | None, limit: int) -> Page:
    """The first page of records that are sorted by kind and name; reads no further than it must."""
    found: list[Record] = []
    for record in records:
        if selector is not None and not selector.matches(record.labels):
            continue
        if limit and len(found) == limit:
            return Page(found, revision, (found[-1].kind, found[-1].name))
        found.append(record)
    return Page(found, revision)


def plan(changes: Sequence[Change], get: Callable[[Key], Record | None], revision: int) -> list[Transition]:
    """What the changes do, by kind and name; raises Conflict, or InvalidRequest for an object named twice."""
    steps: dict[Key, Transition | None] = {}
    for change in changes:
        key = (change.kind, change.name)
        if key in steps:
            message = f"{change.kind} {change.name} is named twice in one change"
            raise InvalidRequest(message, [Violation("changes", message)], next_step="name it once")
        found = get(key)
        _check(change, found)
        if isinstance(change, Put):
            steps[key] = Transition(found, _written(change, found, revision), revision)
        else:
            steps[key] = None if found is None else Transition(found, None, revision)
    return [step for _, step in sorted(steps.items(), key=lambda item: item[0]) if step is not None]


def out_of_range(revision: int, oldest: int, newest: int) -> OutOfRange:
    """The error for a revision that is not kept."""
    return OutOfRange(
        f"revision {revision} is not kept; {oldest} to {newest} are",
        next_step="list again and watch from there",
    )


def closed() -> HostUnavailable:
    """The error for whoever writes or reads after the end."""
    return HostUnavailable("the store is closed", next_step="start the daemon again")


def _check(change: Change, found: Record | None) -> None:
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


def _written(put: Put, found: Record | None, revision: int) -> Record:
    if put.replaces is not None:
        put.replaces(found)
    value = put.value(revision) if callable(put.value) else put.value
    if not isinstance(value, bytes):
        raise TypeError(f"the value of {put.kind} {put.name} is {type(value).__name__}, not bytes")
    etag = found.etag if found is not None and not put.spec_changed else revision
    created = revision if found is None else found.create_revision
    return Record(put.kind, put.name, value, dict(put.labels), revision, etag, created)
