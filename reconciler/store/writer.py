"""The thread that writes: groups commits that wait at the same time into one transaction, so one fsync serves all."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw
import structlog

from common import failpoints
from common.errors import ControlError, HostUnavailable
from reconciler.store.base import Change, Put, Record
from reconciler.store.memory import Key, check, written
from reconciler.store.watchers import Transition

log = structlog.get_logger()

_INSERT = (
    "INSERT INTO history (kind, name, revision, value, labels, etag, create_revision) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SET_REVISION = "UPDATE meta SET value = ? WHERE key = 'revision'"
# More than this at once would make the first of a group wait for the last.
_GROUP = 512


@dataclass(slots=True)
class Job:
    """Something to write: changes (one revision), or a function over the connection (no revision)."""

    changes: Sequence[Change] = ()
    work: Callable[[apsw.Connection], Any] | None = None
    future: asyncio.Future[Any] | None = None
    steps: list[Transition] = field(default_factory=list)
    revision: int = 0
    result: Any = None
    error: Exception | None = None


Publish = Callable[[Sequence[Job]], None]


class Writer:
    """Owns the writing connection. `publish(jobs)` is called on the loop, in the order of commits."""

    def __init__(
        self,
        connection: apsw.Connection,
        heads: Mapping[Key, Record],
        revision: int,
        loop: asyncio.AbstractEventLoop,
        publish: Publish,
    ) -> None:
        self._connection = connection
        self._heads = dict(heads)
        self._revision = revision
        self._loop = loop
        self._publish = publish
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queues a job; its future resolves once it is durable (or refused)."""
        self._jobs.put(job)

    def close(self) -> None:
        """Writes what is queued, then ends; blocking."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            group: list[Job] = []
            job = self._jobs.get()
            while True:
                if job is None:
                    open_ = False
                    break
                group.append(job)
                if len(group) == _GROUP:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._write(group)
                self._tell(group)

    def _tell(self, group: list[Job]) -> None:
        failpoints.hit("store.before_notify")
        try:
            self._loop.call_soon_threadsafe(self._publish, group)
        except RuntimeError:
            log.debug("the loop has ended; nobody waits for the commit")

    def _write(self, group: list[Job]) -> None:
        failpoints.hit("store.before_commit")
        undo: dict[Key, Record | None] = {}
        before = self._revision
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._execute(job, undo)
            failpoints.hit("store.in_transaction")
            if self._revision != before:
                self._connection.execute(_SET_REVISION, (self._revision,))
            self._connection.execute("COMMIT")
            failpoints.hit("store.after_commit")
        except apsw.Error as error:
            self._resolve_unknown(group, before, undo, error)

    def _execute(self, job: Job, undo: dict[Key, Record | None]) -> None:
        if job.work is not None:
            job.result = job.work(self._connection)
            return
        revision = self._revision + 1
        steps: list[Transition] = []
        try:
            for change in job.changes:
                found = self._heads.get((change.kind, change.name))
                check(change, found)
                if isinstance(change, Put):
                    steps.append(Transition(found, written(change, found, revision), revision))
                elif found is not None:
                    steps.append(Transition(found, None, revision))
        except ControlError as error:
            job.error = error
            return
        job.revision = self._revision
        if not steps:
            return
        rows = [_row(step) for step in steps]
        self._connection.executemany(_INSERT, rows)
        for step in steps:
            record = step.after or step.before
            assert record is not None
            key = (record.kind, record.name)
            undo.setdefault(key, self._heads.get(key))
            if step.after is None:
                del self._heads[key]
            else:
                self._heads[key] = step.after
        job.steps, job.revision = steps, revision
        self._revision = revision

    def _resolve_unknown(
        self, group: list[Job], before: int, undo: Mapping[Key, Record | None], error: apsw.Error
    ) -> None:
        """A failed commit may have happened: read again before saying anything."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'revision'").get
            durable = int(row)
        except apsw.Error as second:
            log.error("the store can't be read after a failed commit", error=str(second))
            durable = before
        if durable == self._revision and durable != before:
            return  # it did happen
        self._revision = before
        for key, record in undo.items():
            if record is None:
                self._heads.pop(key, None)
            else:
                self._heads[key] = record
        for job in group:
            if job.error is None:
                job.steps, job.error = [], explain(error)


def explain(error: apsw.Error) -> HostUnavailable:
    """What a failed write means to people."""
    text = str(error)
    if isinstance(error, apsw.FullError):
        step = "free space on the disk of the state folder; the daemon then goes on by itself"
    elif isinstance(error, apsw.ReadOnlyError | apsw.CantOpenError | apsw.PermissionsError):
        step = "make the state folder writable for the daemon"
    elif isinstance(error, apsw.CorruptError | apsw.NotADBError):
        step = "stop the daemon and restore the last copy: ncc doctor --restore"
    else:
        step = "look at the disk of the state folder (dmesg); the daemon tries again by itself"
    return HostUnavailable(f"nothing was written, the store says: {text}", next_step=step)


def _row(step: Transition) -> tuple[Any, ...]:
    if step.after is None:
        before = step.before
        assert before is not None
        return before.kind, before.name, step.revision, None, None, 0, 0
    record = step.after
    labels = json.dumps(dict(record.labels), sort_keys=True) if record.labels else None
    return (
        record.kind,
        record.name,
        record.revision,
        record.value,
        labels,
        record.etag,
        record.create_revision,
    )
