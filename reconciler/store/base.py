"""The store's interface: one persisted revision, optimistic writes, reads at a revision, watches from one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from reconciler.store.selector import Selector

# How many revisions are kept; older ones can be neither listed nor watched from.
KEPT_REVISIONS = 10_000
# How many entries a ring keeps.
KEPT_ENTRIES = 10_000

Value = bytes | Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Record:
    """A stored object as of `revision`."""

    kind: str
    name: str
    value: bytes
    labels: Mapping[str, str]
    # Revision of its last write of any sort.
    revision: int
    # Revision of its last spec write.
    etag: int
    # Revision that made it.
    create_revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Writes an object; `value` may be made from the revision that the commit gets."""

    kind: str
    name: str
    value: Value
    labels: Mapping[str, str] = field(default_factory=dict)
    # The etag it must have; 0: it must not exist; None: any.
    expect: int | None = None
    # The revision it must have; 0: it must not exist; None: any.
    expect_revision: int | None = None
    # False: a status write, which keeps the etag.
    spec_changed: bool = True
    # Told what is replaced (None: nothing), each time before `value` is made; called where the store writes.
    replaces: Callable[[Record | None], None] | None = None


@dataclass(frozen=True, slots=True)
class Remove:
    """Removes an object; absent is fine unless something is expected."""

    kind: str
    name: str
    expect: int | None = None
    expect_revision: int | None = None


Change = Put | Remove


class EventType(StrEnum):
    """What a watcher is told."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    # Everything up to the revision was told.
    BOOKMARK = "BOOKMARK"
    # The watcher fell behind: up to the next bookmark comes the latest state per key.
    GAP = "GAP"


@dataclass(frozen=True, slots=True)
class Event:
    """A change (with the record as it is, for DELETED as it was last), or a mark without one."""

    type: EventType
    record: Record | None
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """Records sorted by kind and name, all as of `revision`; `next`: the last one where more follow."""

    records: Sequence[Record]
    revision: int
    next: tuple[str, str] | None = None


class Store(Protocol):
    """Durable when a call returns. Errors: Conflict (stale expectation), OutOfRange (compacted), HostUnavailable."""

    @property
    def revision(self) -> int:
        """The newest revision."""

    async def get(self, kind: str, name: str) -> Record | None:
        """The object, or None."""

    async def list(
        self,
        kind: str | None = None,
        *,
        selector: Selector | None = None,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
    ) -> Page:
        """Objects as of a revision (None: now), after a kind and name, at most `limit` (0: all)."""

    async def commit(self, changes: Sequence[Change]) -> int:
        """All or nothing, one revision; gives it. Without changes: the newest revision.

        Raises Conflict, InvalidRequest (an object named twice), HostUnavailable, or what a value's function raises.
        """

    def watch(
        self,
        kind: str | None = None,
        name: str | None = None,
        selector: Selector | None = None,
        since: int | None = None,
    ) -> AsyncIterator[Event]:
        """Every change after `since` (None: from this call on), ordered, each revision whole, then live.

        The watch begins with the call, not with the first `anext`, and ends when it is closed or let go of.
        Raises OutOfRange, later too where the history that is still to be replayed gets compacted.
        """

    async def ring_append(self, ring: str, entries: Sequence[tuple[int | None, bytes]]) -> Sequence[int]:
        """Adds entries (an id replaces or inserts, None takes the next) and gives their ids.

        Entries whose id is KEPT_ENTRIES behind the newest are forgotten.
        """

    async def ring_list(self, ring: str, *, limit: int = 0, after: int = 0) -> Sequence[tuple[int, bytes]]:
        """Entries with a larger id than `after`, oldest first, of those the `limit` newest (0: all)."""

    async def document_put(self, bucket: str, key: str, value: bytes | None) -> None:
        """Writes a document; None removes it."""

    async def document_get(self, bucket: str, key: str) -> bytes | None:
        """The document, or None."""

    async def document_list(self, bucket: str) -> Sequence[tuple[str, bytes]]:
        """All of a bucket, by key."""

    async def compact(self, keep: int = KEPT_REVISIONS) -> None:
        """Forgets all but the newest `keep` revisions."""

    async def close(self) -> None:
        """Ends it; watches end too."""
