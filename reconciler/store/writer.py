"""The thread that writes: groups commits that wait at the same time into one transaction, so one fsync serves all.

A failed COMMIT may have happened, and even where this process reads the old state, its pages may lie in the log for the
next process to find. So each transaction writes a number of its own: after a failure the number is read back, and a
transaction that changes nothing else is written over the remains. Only then is it certain that nothing was written.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw
import structlog

from common import failpoints
from common.errors import HostUnavailable
from reconciler.store import rows
from reconciler.store.base import Change, Record
from reconciler.store.table import plan
from reconciler.store.watchers import Key, Transition

log = structlog.get_logger()

_INSERT = f"INSERT INTO history ({rows.COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_SET = "UPDATE meta SET value = ? WHERE key = ?"
_TRANSACTION = "SELECT value FROM meta WHERE key = 'transaction'"
# More than this at once would make the first of a group wait for the last.
_GROUP = 512
# Errors of one job's own data; all others are the disk's.
_OWN = (apsw.ConstraintError, apsw.MismatchError, apsw.RangeError, apsw.SQLError, apsw.TooBigError)

NOTHING = "nothing was written, the store says"
UNKNOWN = "it is not known whether the change was written, read it again; the store says"


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


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A transaction: its number, and what to put back where it didn't happen."""

    number: int
    jobs: Sequence[Job]
    revision: int
    undo: dict[Key, Record | None] = field(default_factory=dict)


class _Refused(Exception):
    """The database refused one job's data; the others are to be tried without it."""


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
        self._number = int(connection.execute(_TRANSACTION).get)
        self._opened_at = self._number
        # A failed transaction of which nothing could be read yet.
        self._doubt: _Attempt | None = None
        self._loop = loop
        self._publish = publish
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def wrote(self) -> bool:
        """Whether anything was written since the start."""
        return self._number != self._opened_at

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

    def _tell(self, group: Sequence[Job]) -> None:
        failpoints.hit("store.before_notify")
        try:
            self._loop.call_soon_threadsafe(self._publish, group)
        except RuntimeError:
            log.debug("the loop has ended; nobody waits for the commit")

    def _write(self, group: Sequence[Job]) -> None:
        failpoints.hit("store.before_commit")
        todo = list(group)
        while todo:
            try:
                self._resolve_doubt()
            except apsw.Error as error:
                _refuse(todo, explain(error, NOTHING))
                return
            attempt = _Attempt(self._number + 1, todo, self._revision)
            committing = False
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                for job in todo:
                    self._execute(job, attempt.undo)
                failpoints.hit("store.in_transaction")
                if attempt.undo or any(job.work is not None for job in todo):
                    self._number = attempt.number
                    self._connection.executemany(
                        _SET, ((self._revision, "revision"), (attempt.number, "transaction"))
                    )
                committing = True
                self._connection.execute("COMMIT")
                failpoints.hit("store.after_commit")
                return
            except _Refused:
                self._undo(attempt)
                todo = [job for job in todo if job.error is None]
            except apsw.Error as error:
                self._failed(attempt, error, committing=committing)
                return

    def _execute(self, job: Job, undo: dict[Key, Record | None]) -> None:
        """Does one job; its own mistakes become its error."""
        revision = self._revision + 1
        try:
            job.steps = [] if job.work is not None else plan(job.changes, self._heads.get, revision)
        except Exception as error:  # noqa: BLE001 - a value's function may raise anything: its caller gets it
            job.error = error
            return
        try:
            if job.work is not None:
                job.result = job.work(self._connection)
            elif job.steps:
                self._connection.executemany(_INSERT, [rows.from_step(step) for step in job.steps])
        except (*_OWN, TypeError, ValueError) as error:
            job.steps, job.error = [], error
            raise _Refused from error
        for step in job.steps:
            undo.setdefault(step.key, self._heads.get(step.key))
            if step.after is None:
                del self._heads[step.key]
            else:
                self._heads[step.key] = step.after
        if job.steps:
            self._revision = revision
        job.revision = self._revision

    def _failed(self, attempt: _Attempt, error: apsw.Error, *, committing: bool) -> None:
        """Reads again before saying anything."""
        log.warning("a commit failed", error=str(error))
        self._rollback()
        told = NOTHING
        try:
            if self._durable() == attempt.number:
                return  # it did happen
            self._undo(attempt)
            if committing and not self._settle():
                told = UNKNOWN
        except apsw.Error:
            jobs = [Job(steps=job.steps, revision=job.revision) for job in attempt.jobs]
            self._doubt = _Attempt(attempt.number, jobs, attempt.revision, attempt.undo)
            told = UNKNOWN
        _refuse(attempt.jobs, explain(error, told))

    def _resolve_doubt(self) -> None:
        """Reads what became of a failed transaction; raises while that can't be read."""
        doubt = self._doubt
        if doubt is None:
            return
        happened = self._durable() == doubt.number
        self._doubt = None
        if happened:
            self._tell(doubt.jobs)
        else:
            self._undo(doubt)

    def _durable(self) -> int:
        return int(self._connection.execute(_TRANSACTION).get)

    def _settle(self) -> bool:
        """Writes over the remains of a failed transaction; whether that worked."""
        self._number += 1
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_SET, (self._number, "transaction"))
            self._connection.execute("COMMIT")
        except apsw.Error:
            self._rollback()
            return False
        return True

    def _rollback(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            log.warning("a failed commit could not be rolled back", error=str(error))

    def _undo(self, attempt: _Attempt) -> None:
        """Forgets, in memory, what didn't happen."""
        self._rollback()
        self._revision = attempt.revision
        for key, record in attempt.undo.items():
            if record is None:
                self._heads.pop(key, None)
            else:
                self._heads[key] = record


def _refuse(jobs: Sequence[Job], error: HostUnavailable) -> None:
    for job in jobs:
        if job.error is None:
            job.steps, job.error = [], error


def explain(error: apsw.Error, told: str) -> HostUnavailable:
    """What a failure of the database means to people."""
    if isinstance(error, apsw.FullError):
        step = "free space on the disk of the state folder; the daemon then goes on by itself"
    elif isinstance(error, apsw.ReadOnlyError | apsw.CantOpenError | apsw.PermissionsError):
        step = "make the state folder writable for the daemon"
    elif isinstance(error, apsw.CorruptError | apsw.NotADBError):
        step = "stop the daemon and restore the last copy: ncc doctor --restore"
    else:
        step = "look at the disk of the state folder (dmesg); the daemon tries again by itself"
    return HostUnavailable(f"{told}: {error}", next_step=step)
