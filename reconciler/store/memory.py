"""A store in memory: the reference that the durable ones are held against, and enough for tests of the loop."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.store.base import KEPT_ENTRIES, KEPT_REVISIONS, Change, Page, Record
from reconciler.store.selector import Selector
from reconciler.store.table import Table, closed, fill, out_of_range, plan
from reconciler.store.watchers import Interest, Key, Transition, Watch, Watchers


class MemoryStore:
    """Keeps everything in dictionaries."""

    def __init__(self) -> None:
        self._table = Table()
        self._log: list[tuple[int, list[Transition]]] = []
        self._revision = 0
        self._compacted = 0
        self._rings: dict[str, dict[int, bytes]] = {}
        self._documents: dict[str, dict[str, bytes]] = {}
        self._watchers = Watchers(self._replay)
        self._closed = False

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._revision

    async def get(self, kind: str, name: str) -> Record | None:
        """The object, or None."""
        return self._table.get((kind, name))

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
        if at == self._revision:
            return self._table.page(at, kind, selector, limit, after)
        state = self._table.copy()
        for later, steps in reversed(self._log):
            if later <= at:
                break
            for step in steps:
                if step.before is None:
                    state.pop(step.key, None)
                else:
                    state[step.key] = step.before
        keys = sorted(key for key in state if (not kind or key[0] == kind) and (after is None or key > after))
        return fill([state[key] for key in keys], at, selector, limit)

    async def commit(self, changes: Sequence[Change]) -> int:
        """All or nothing, one revision."""
        self._require_open()
        revision = self._revision + 1
        steps = plan(changes, self._table.get, revision)
        if not steps:
            return self._revision
        self._table.apply(steps)
        self._revision = revision
        self._log.append((revision, steps))
        self._watchers.publish(revision, steps)
        if len(self._log) > KEPT_REVISIONS + KEPT_REVISIONS // 8:
            await self.compact()
        return revision

    def watch(
        self,
        kind: str | None = None,
        name: str | None = None,
        selector: Selector | None = None,
        since: int | None = None,
    ) -> Watch:
        """Every change after `since`, then live."""
        if since is not None and not self._compacted <= since <= self._revision:
            raise out_of_range(since, self._compacted, self._revision)
        return self._watchers.watch(Interest(kind, name, selector), since)

    async def ring_append(self, ring: str, entries: Sequence[tuple[int | None, bytes]]) -> Sequence[int]:
        """Adds entries."""
        self._require_open()
        rows = self._rings.setdefault(ring, {})
        numbers = []
        for number, value in entries:
            chosen = number if number is not None else max(rows, default=0) + 1
            rows[chosen] = value
            numbers.append(chosen)
        horizon = max(rows, default=0) - KEPT_ENTRIES
        for old in [number for number in rows if number <= horizon]:
            del rows[old]
        return numbers

    async def ring_list(self, ring: str, *, limit: int = 0, after: int = 0) -> Sequence[tuple[int, bytes]]:
        """Entries, oldest first."""
        rows = sorted((n, value) for n, value in self._rings.get(ring, {}).items() if n > after)
        return rows[-limit:] if limit else rows

    async def document_put(self, bucket: str, key: str, value: bytes | None) -> None:
        """Writes a document."""
        self._require_open()
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
        self._closed = True
        self._watchers.close()

    def _require_open(self) -> None:
        if self._closed:
            raise closed()

    async def _replay(self, interest: Interest, since: int, until: int) -> Sequence[Transition]:
        if since < self._compacted:
            raise out_of_range(since, self._compacted, self._revision)
        return [step for revision, steps in self._log if since < revision <= until for step in steps]
