"""The store on SQLite: current state in memory for reads, every change on disk before it is acknowledged."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import apsw

from common.errors import HostUnavailable, WrongState
from reconciler.store import files
from reconciler.store.base import KEPT_ENTRIES, KEPT_REVISIONS, Change, Event, Page, Record
from reconciler.store.memory import Key, out_of_range, page
from reconciler.store.selector import Selector
from reconciler.store.watchers import Interest, Transition, Watchers
from reconciler.store.writer import Job, Writer, explain

T = TypeVar("T")

_COLUMNS = "kind, name, revision, value, labels, etag, create_revision"
# The newest row of each object at or before a revision.
_AT = (
    f"SELECT {_COLUMNS} FROM history AS h WHERE revision = (SELECT max(revision) FROM history "
    "WHERE kind = h.kind AND name = h.name AND revision <= ?1) AND value IS NOT NULL "
    "AND (?2 IS NULL OR kind = ?2) ORDER BY kind, name"
)
_BETWEEN = f"SELECT {_COLUMNS} FROM history WHERE revision > ? AND revision <= ? ORDER BY revision, kind, name"
_BEFORE = f"SELECT {_COLUMNS} FROM history WHERE kind = ? AND name = ? AND revision < ? ORDER BY revision DESC LIMIT 1"
# What compaction forgets: rows that a newer row at or before the horizon replaces, and removals up to it.
_FORGET = (
    "DELETE FROM history WHERE revision <= ?1 AND (value IS NULL OR EXISTS (SELECT 1 FROM history AS newer "
    "WHERE newer.kind = history.kind AND newer.name = history.name "
    "AND newer.revision > history.revision AND newer.revision <= ?1))"
)


class SqliteStore:
    """See `Store`. Made by `open_store`."""

    def __init__(self, folder: Path, lock: int, connection: apsw.Connection, *, vfs: str | None = None) -> None:
        self._folder = folder
        self._lock = lock
        self._connection = connection
        self._reader = apsw.Connection(str(folder / files.DATABASE), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
        self._reader.set_busy_timeout(5_000)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._revision = _meta(connection, "revision")
        self._compacted = _meta(connection, "compacted")
        self._opened_at = self._revision
        rows = connection.execute(_AT, (self._revision, None))
        self._records: dict[Key, Record] = {(row[0], row[1]): _record(row) for row in rows}
        self._watchers = Watchers(self._replay)
        self._watchers.revision = self._revision
        self._writer = Writer(
            connection, self._records, self._revision, asyncio.get_running_loop(), self._published
        )
        self._compacting: asyncio.Task[None] | None = None

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
        if at == self._revision:
            keys = sorted(key for key in self._records if not kind or key[0] == kind)
            return page([self._records[key] for key in keys], at, selector, limit, after)
        rows = await self._read(lambda reader: [_record(row) for row in reader.execute(_AT, (at, kind))])
        if at < self._compacted:
            raise out_of_range(at, self._compacted, self._revision)
        return page(rows, at, selector, limit, after)

    async def commit(self, changes: Sequence[Change]) -> int:
        """All or nothing, one revision; durable when it returns."""
        if not changes:
            return self._revision
        job = await self._submit(Job(changes=changes))
        return job.revision

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

        def work(connection: apsw.Connection) -> Sequence[int]:
            numbers = []
            for number, value in entries:
                row = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM rings WHERE ring = ?", (ring,))
                chosen = int(row.get) if number is None else number
                connection.execute("INSERT OR REPLACE INTO rings VALUES (?, ?, ?)", (ring, chosen, value))
                numbers.append(chosen)
            newest = connection.execute("SELECT max(id) FROM rings WHERE ring = ?", (ring,)).get or 0
            connection.execute(
                "DELETE FROM rings WHERE ring = ? AND id <= ?", (ring, int(newest) - KEPT_ENTRIES)
            )
            return numbers

        result: Sequence[int] = (await self._submit(Job(work=work))).result
        return result

    async def ring_list(
        self, ring: str, *, limit: int = 0, after: int = 0
    ) -> Sequence[tuple[int, bytes]]:
        """Entries, oldest first."""
        query = "SELECT id, value FROM rings WHERE ring = ? AND id > ? ORDER BY id DESC LIMIT ?"
        rows = await self._read(lambda reader: reader.execute(query, (ring, after, limit or -1)).fetchall())
        return [(int(number), bytes(value)) for number, value in reversed(rows)]

    async def document_put(self, bucket: str, key: str, value: bytes | None) -> None:
        """Writes a document."""

        def work(connection: apsw.Connection) -> None:
            if value is None:
                connection.execute("DELETE FROM documents WHERE bucket = ? AND key = ?", (bucket, key))
            else:
                connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (bucket, key, value))

        await self._submit(Job(work=work))

    async def document_get(self, bucket: str, key: str) -> bytes | None:
        """The document, or None."""
        query = "SELECT value FROM documents WHERE bucket = ? AND key = ?"
        found = await self._read(lambda reader: reader.execute(query, (bucket, key)).get)
        return None if found is None else bytes(found)

    async def document_list(self, bucket: str) -> Sequence[tuple[str, bytes]]:
        """All of a bucket, by key."""
        query = "SELECT key, value FROM documents WHERE bucket = ? ORDER BY key"
        rows = await self._read(lambda reader: reader.execute(query, (bucket,)).fetchall())
        return [(str(key), bytes(value)) for key, value in rows]

    async def compact(self, keep: int = KEPT_REVISIONS) -> None:
        """Forgets old revisions."""
        horizon = self._revision - keep
        if horizon <= self._compacted:
            return

        def work(connection: apsw.Connection) -> None:
            connection.execute("UPDATE meta SET value = ? WHERE key = 'compacted'", (horizon,))
            connection.execute(_FORGET, (horizon,))

        self._compacted = horizon
        await self._submit(Job(work=work))

    async def close(self) -> None:
        """Writes what is queued and ends; makes a copy where something changed."""
        self._watchers.close()
        if self._compacting is not None:
            await asyncio.gather(self._compacting, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._threads, self._end)
        self._threads.shutdown()

    def _end(self) -> None:
        self._writer.close()
        if self._revision != self._opened_at:
            files.make_copy(self._connection, self._folder)
        self._reader.close()
        self._connection.close()
        os.close(self._lock)

    async def _submit(self, job: Job) -> Job:
        job.future = asyncio.get_running_loop().create_future()
        self._writer.submit(job)
        await job.future
        return job

    def _published(self, jobs: Sequence[Job]) -> None:
        """On the loop: shows commits in their order, then wakes whoever waits."""
        for job in jobs:
            for step in job.steps:
                record = step.after or step.before
                assert record is not None
                if step.after is None:
                    self._records.pop((record.kind, record.name), None)
                else:
                    self._records[record.kind, record.name] = step.after
            if job.steps:
                self._revision = job.revision
                self._watchers.publish(job.revision, job.steps)
            future = job.future
            if future is not None and not future.done():
                if job.error is not None:
                    future.set_exception(job.error)
                else:
                    future.set_result(None)
        if self._revision - self._compacted > KEPT_REVISIONS + KEPT_REVISIONS // 8 and (
            self._compacting is None or self._compacting.done()
        ):
            self._compacting = asyncio.ensure_future(self._compact_quietly())

    async def _compact_quietly(self) -> None:
        try:
            await self.compact()
        except HostUnavailable:
            pass  # the disk is full; the next commits say so

    async def _read(self, function: Callable[[apsw.Connection], T]) -> T:
        """One hop into the reading thread."""
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, function, self._reader)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise WrongState(
                f"{self._folder / files.DATABASE} is damaged: {error}",
                next_step="stop the daemon and restore the last copy: ncc doctor --restore",
            ) from error
        except apsw.Error as error:
            raise explain(error) from error

    async def _replay(self, since: int, until: int) -> Sequence[Transition]:
        def read(reader: apsw.Connection) -> list[Transition]:
            steps = []
            for row in reader.execute(_BETWEEN, (since, until)).fetchall():
                before = reader.execute(_BEFORE, (row[0], row[1], row[2])).fetchall()
                old = _record(before[0]) if before and before[0][3] is not None else None
                new = _record(row) if row[3] is not None else None
                steps.append(Transition(old, new, row[2]))
            return steps

        steps = await self._read(read)
        if since < self._compacted:
            raise out_of_range(since, self._compacted, self._revision)
        return steps


def _meta(connection: apsw.Connection, key: str) -> int:
    return int(connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).get)


def _record(row: Any) -> Record:
    kind, name, revision, value, labels, etag, created = row
    return Record(kind, name, bytes(value), json.loads(labels) if labels else {}, revision, etag, created)
