"""The store on SQLite: current state in memory for reads, every change on disk before it is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import apsw

from common.errors import HostUnavailable, WrongState
from reconciler.store import files, rows
from reconciler.store.base import KEPT_ENTRIES, KEPT_REVISIONS, Change, Page, Record
from reconciler.store.opening import Opened, records_at
from reconciler.store.selector import Selector
from reconciler.store.table import Table, closed, fill, out_of_range
from reconciler.store.watchers import Interest, Key, Transition, Watch, Watchers
from reconciler.store.writer import Job, Writer, explain

T = TypeVar("T")

# One step of a compaction: writers wait no longer than it takes.
_COMPACTED_AT_ONCE = 250
_BEFORE = f"{rows.SELECT} WHERE kind = ? AND name = ? AND revision < ? ORDER BY revision DESC LIMIT 1"


class SqliteStore:
    """See `Store`. Made by `open_store`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._table = Table(opened.records)
        self._revision = opened.revision
        # What is refused, and what is gone from the disk: the first may be ahead while a compaction goes on or failed.
        self._compacted = self._forgotten = opened.compacted
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._watchers = Watchers(self._replay, self._revision)
        loop = asyncio.get_running_loop()
        self._writer = Writer(opened.writer, self._table.copy(), self._revision, loop, self._published)
        self._compacting: asyncio.Task[None] | None = None
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
        self._require_kept(at)
        if at == self._revision:
            return self._table.page(at, kind, selector, limit, after)
        page = await self._read(lambda reader: fill(records_at(reader, at, kind, after), at, selector, limit))
        self._require_kept(at)
        return page

    async def commit(self, changes: Sequence[Change]) -> int:
        """All or nothing, one revision; durable when it returns."""
        return (await self._submit(Job(changes=changes))).revision if changes else self._revision

    def watch(
        self,
        kind: str | None = None,
        name: str | None = None,
        selector: Selector | None = None,
        since: int | None = None,
    ) -> Watch:
        """Every change after `since`, then live."""
        if since is not None:
            self._require_kept(since)
        return self._watchers.watch(Interest(kind, name, selector), since)

    async def ring_append(self, ring: str, entries: Sequence[tuple[int | None, bytes]]) -> Sequence[int]:
        """Adds entries."""

        def work(connection: apsw.Connection) -> Sequence[int]:
            newest = connection.execute("SELECT max(id) FROM rings WHERE ring = ?", (ring,)).get or 0
            numbers, added = [], []
            for number, value in entries:
                numbers.append(newest + 1 if number is None else number)
                newest = max(newest, numbers[-1])
                added.append((ring, numbers[-1], rows.seal(value, ring, numbers[-1])))
            connection.executemany("INSERT OR REPLACE INTO rings VALUES (?, ?, ?)", added)
            connection.execute("DELETE FROM rings WHERE ring = ? AND id <= ?", (ring, newest - KEPT_ENTRIES))
            return numbers

        result: Sequence[int] = (await self._submit(Job(work=work))).result
        return result

    async def ring_list(self, ring: str, *, limit: int = 0, after: int = 0) -> Sequence[tuple[int, bytes]]:
        """Entries, oldest first."""
        query = "SELECT id, value FROM rings WHERE ring = ? AND id > ? ORDER BY id DESC LIMIT ?"

        def read(reader: apsw.Connection) -> Sequence[tuple[int, bytes]]:
            found = reader.execute(query, (ring, after, limit or -1)).fetchall()
            return [(number, rows.unseal(value, ring, number)) for number, value in reversed(found)]

        return await self._read(read)

    async def document_put(self, bucket: str, key: str, value: bytes | None) -> None:
        """Writes a document."""

        def work(connection: apsw.Connection) -> None:
            if value is None:
                connection.execute("DELETE FROM documents WHERE bucket = ? AND key = ?", (bucket, key))
            else:
                row = bucket, key, rows.seal(value, bucket, key)
                connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", row)

        await self._submit(Job(work=work))

    async def document_get(self, bucket: str, key: str) -> bytes | None:
        """The document, or None."""
        query = "SELECT value FROM documents WHERE bucket = ? AND key = ?"

        def read(reader: apsw.Connection) -> bytes | None:
            found = reader.execute(query, (bucket, key)).get
            return None if found is None else rows.unseal(found, bucket, key)

        return await self._read(read)

    async def document_list(self, bucket: str) -> Sequence[tuple[str, bytes]]:
        """All of a bucket, by key."""
        query = "SELECT key, value FROM documents WHERE bucket = ? ORDER BY key"

        def read(reader: apsw.Connection) -> Sequence[tuple[str, bytes]]:
            found = reader.execute(query, (bucket,)).fetchall()
            return [(str(key), rows.unseal(value, bucket, key)) for key, value in found]

        return await self._read(read)

    async def compact(self, keep: int = KEPT_REVISIONS) -> None:
        """Forgets old revisions, in steps between which others write."""
        horizon = self._revision - keep
        while self._forgotten < horizon:
            since, until = self._forgotten, min(self._forgotten + _COMPACTED_AT_ONCE, horizon)
            self._compacted = max(self._compacted, until)
            await self._submit(Job(work=partial(_forget, since=since, until=until)))
            self._forgotten = max(self._forgotten, until)

    async def close(self) -> None:
        """Writes what is queued and ends; makes a copy where something changed."""
        if self._closed:
            return
        self._closed = True
        if self._compacting is not None:
            await asyncio.gather(self._compacting, return_exceptions=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._writer.close)
        self._watchers.close()
        await loop.run_in_executor(self._threads, self._opened.close, self._writer.wrote)
        self._threads.shutdown()

    async def _submit(self, job: Job) -> Job:
        if self._closed:
            raise closed()
        job.future = asyncio.get_running_loop().create_future()
        self._writer.submit(job)
        await job.future
        return job

    def _published(self, jobs: Sequence[Job]) -> None:
        """On the loop: shows commits in their order, then wakes whoever waits."""
        for job in jobs:
            if job.steps:
                self._table.apply(job.steps)
                self._revision = job.revision
                self._watchers.publish(job.revision, job.steps)
            future = job.future
            if future is not None and not future.done():
                if job.error is not None:
                    future.set_exception(job.error)
                else:
                    future.set_result(None)
        if self._compaction_due() and (self._compacting is None or self._compacting.done()):
            self._compacting = asyncio.ensure_future(self._compact_quietly())

    def _compaction_due(self) -> bool:
        return self._revision - self._compacted > KEPT_REVISIONS + KEPT_REVISIONS // 8

    async def _compact_quietly(self) -> None:
        with contextlib.suppress(HostUnavailable):  # closed, or the disk is full: the next commits say so
            while self._compaction_due():
                await self.compact(KEPT_REVISIONS)

    def _require_kept(self, revision: int) -> None:
        if not self._compacted <= revision <= self._revision:
            raise out_of_range(revision, self._compacted, self._revision)

    async def _read(self, function: Callable[[apsw.Connection], T]) -> T:
        """One hop into the reading thread."""
        if self._closed:
            raise closed()
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, function, self._opened.reader)
        except files.DAMAGE as error:
            raise WrongState(
                f"{self._opened.path} is damaged: {error}",
                next_step="stop the daemon and restore the last copy: ncc doctor --restore",
            ) from error
        except apsw.Error as error:
            raise explain(error, "the store can't be read") from error

    async def _replay(self, interest: Interest, since: int, until: int) -> Sequence[Transition]:
        wanted = {"kind": interest.kind, "name": interest.name}
        terms = "".join(f" AND {column} = :{column}" for column, value in wanted.items() if value)
        query = (
            f"{rows.SELECT} WHERE revision > :since AND revision <= :until{terms} "
            "ORDER BY revision, kind, name"
        )

        def read(reader: apsw.Connection) -> list[Transition]:
            steps = []
            found: list[rows.Row] = reader.execute(
                query, {**wanted, "since": since, "until": until}
            ).fetchall()
            for row in found:
                before = reader.execute(_BEFORE, row[:3]).fetchall()
                old = rows.to_record(before[0]) if before and before[0][3] is not None else None
                steps.append(Transition(old, None if row[3] is None else rows.to_record(row), row[2]))
            return steps

        self._require_kept(since)
        steps = await self._read(read)
        self._require_kept(since)
        return steps


def _forget(connection: apsw.Connection, *, since: int, until: int) -> None:
    """Moves the horizon: rows that a newer row up to it replaces go, and removals up to it."""
    newest = connection.execute(
        "SELECT kind, name, max(revision) FROM history WHERE revision > ? AND revision <= ? GROUP BY kind, name",
        (since, until),
    ).fetchall()
    connection.executemany("DELETE FROM history WHERE kind = ? AND name = ? AND revision < ?", newest)
    connection.execute(
        "DELETE FROM history WHERE revision > ? AND revision <= ? AND value IS NULL", (since, until)
    )
    connection.execute("UPDATE meta SET value = ? WHERE key = 'compacted'", (until,))
