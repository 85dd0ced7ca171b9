"""What the rpcs and the schedule do with backup jobs."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from common import cron
from common.errors import Cancelled, ControlError, InvalidRequest, NotFound, Violation, WrongState
from common.failpoints import hit
from common.scheduler import Work
from common.whole_file import write_whole
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.hooks import Hold, Hooks
from services.homelab.backup.leftovers import Leftovers
from services.homelab.backup.marks import Marks
from services.homelab.backup.models import Record, Run, Status
from services.homelab.backup.records import Records
from services.homelab.backup.snapshots import Snapshots
from services.homelab.backup.sources import Sources, holds
from services.homelab.backup.terms import (
    keep,
    next_check,
    next_restore_test,
    next_run,
    not_after,
    repository,
    tag,
    zone,
)
from services.homelab.containers.held import Held
from services.homelab.drivers.base import Engine, Report
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState
from services.homelab.drivers.restic import Restic

log = structlog.get_logger()

_MOST_RUNS = 100
# Seconds until the schedule looks again at a job whose repository is in use.
_BUSY = 30.0
# Beyond what is restored for a test, so much has to stay free.
_ROOM = 1 << 28
_INTERRUPTED = "it was interrupted before it ended"


def _quiet(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


class Jobs:
    """Jobs of one host. Thread-safe; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        engine: Engine,
        own_state: OwnState,
        machines: MachineDisks,
        folder: Path,
        *,
        restic: Restic | None = None,
        clock: Callable[[], float] = time.time,
        held: Held | None = None,
    ) -> None:
        self._engine = engine
        self._held = held or Held()
        self._folder = folder
        self._records = Records(folder)
        self._sources = Sources(engine, own_state, machines, folder / "work")
        self._marks = Marks(folder / "work")
        self._leftovers = Leftovers(engine.containers, self._sources, folder / "journals", self._alone)
        self.restic = restic or Restic(folder / "work")
        self.clock = clock
        self.snapshots = Snapshots(self.restic, self._required, self._taken, self._stopped, self.tags)
        self._lock = threading.RLock()
        self._running: set[str] = set()
        # Repositories in use: restic's own locks would make one wait for the other and fail.
        self._used: set[str] = set()
        self._ended = threading.Event()
        # Called with a job's name when its status has changed.
        self.changed: Callable[[str], None] = lambda _: None

    def start(self) -> None:
        """Undoes what a run that was killed left."""
        self.restic.end_left()
        self._sources.sweep()
        for left in (self._folder / "work").glob("repository-*"):
            left.unlink(missing_ok=True)
        for left in (self._folder / "work").glob("restore-*"):
            shutil.rmtree(left, ignore_errors=True)
        for name in self._records.names():
            if (made_up := self._marks.take(name, self._record(name))) is not None:
                # Once: what kills the daemon each time would do so for ever.
                self._note(name, error=_INTERRUPTED, again=not made_up)
        self._leftovers.undo()

    def close(self) -> None:
        """Ends what runs."""
        self._ended.set()

    # Jobs

    def names(self) -> Sequence[str]:
        """All that are declared."""
        with self._lock:
            return self._records.names()

    def job(self, name: str) -> pb.BackupJob | None:
        """A declared one."""
        with self._lock:
            return self._records.job(name)

    def declare(self, name: str, job: pb.BackupJob) -> None:
        """Declares or changes one; runs that were due before it was declared were not missed."""
        with self._lock:
            known = self._records.job(name)
            record = self._records.record(name)
            if known is None or known.schedule != job.schedule:
                record = replace(record, since=self.clock(), error="")
            if known is not None and known.repository != job.repository:
                record = replace(record, opened=False)
            self._records.set_record(name, record)
            self._records.set_job(name, job)

    def drop(self, name: str) -> bool:
        """Forgets one; what it made stays. WrongState while it runs."""
        with self._lock:
            if name in self._running:
                raise WrongState(f"the backup {name} runs", next_step="wait, or cancel its operation")
            return self._records.drop(name)

    def tags(self, name: str) -> Sequence[str]:
        """Of the snapshots that it makes on this host: another one may have a job of this name, and the repository."""
        path = self._folder / "machine"
        with self._lock:
            try:
                machine = path.read_text().strip()
            except FileNotFoundError:
                machine = secrets.token_hex(6)
                write_whole(path, machine.encode())
        return [tag(name), f"nixcc-machine-{machine}"]

    def status(self, name: str) -> Status:
        """How it is doing; NotFound."""
        job = self._required(name)
        with self._lock:
            record, running = self._records.record(name), name in self._running
        since = record.last_success or record.since
        late = not job.paused and cron.overdue(
            job.schedule, since, self.clock(), float(job.overdue_after), zone(job)
        )
        return Status(name, record, next_run(job, record), late, running)

    # The schedule

    def due(self) -> Iterator[Work]:
        """What should be done now; of one repository one after the other."""
        now = self.clock()
        self._leftovers.undo()
        for name, job, record in self._idle():
            if (kept := not_after(record, now)) != record:
                log.warning("the clock was set back: what was noted for later counts as of now", job=name)
                with self._lock:
                    self._records.set_record(name, kept)
            for when, work in (
                (next_run(job, kept), self.run),
                (next_check(job, kept), self.verify),
                (next_restore_test(job, kept), self.test_restore),
            ):
                if when <= now:
                    yield Work(partial(self._scheduled, name, work), lane=_place(job))

    def next_time(self) -> float:
        """When something is due next."""
        idle = self._idle()
        found = [self.clock() + _BUSY if len(idle) < len(self.names()) else math.inf]
        for _, job, record in idle:
            found += [next_run(job, record), next_check(job, record), next_restore_test(job, record)]
        return min(found)

    def _idle(self) -> list[tuple[str, pb.BackupJob, Record]]:
        """Jobs that could run now."""
        with self._lock:
            found = []
            for name in self._records.names():
                job = self._records.job(name)
                if job is None or name in self._running or _place(job) in self._used:
                    continue
                found.append((name, job, self._records.record(name)))
            return found

    # Runs

    def run(self, name: str, report: Report = _quiet, cancel: threading.Event | None = None) -> Run:
        """Makes a backup now. WrongState while it runs already; what fails is remembered, too."""
        job = self._required(name)
        with self._taken(name, job):
            start = self.clock()
            self._marks.set(name, start, self._record(name).again)
            self._note(name, last_try=start, error="", again=False)
            self.changed(name)
            try:
                with _told():
                    run = self._backed_up(name, job, start, report, cancel or self._ended)
                    if not run.error and keep(job):
                        run = self._thinned(name, job, run, report, cancel or self._ended)
            except ControlError as error:
                if self._ended.is_set() and isinstance(error, Cancelled):
                    raise  # the mark stays: it is made up for
                self._finish(name, Run(start, self.clock() - start, error=str(error)))
                raise
            except BaseException:
                self._finish(name, Run(start, self.clock() - start, error=_INTERRUPTED))
                raise
            self._finish(name, run)
            return run

    def _backed_up(
        self, name: str, job: pb.BackupJob, start: float, report: Report, cancel: threading.Event
    ) -> Run:
        where = repository(job)
        report("opens the repository", None)
        if self._record(name).opened:
            # A repository that went away is no reason to begin anew: what it held would be missed.
            self.restic.open(where)
        else:
            self.restic.init(where)
            self._note(name, opened=True)
        hit("homelab.backup_opened")
        hooks = self._hooks(name)
        with self._sources.staged(name, job, report, cancel) as paths, hooks.held(holds(job)):
            made = self.restic.backup(
                where,
                paths,
                tags=self.tags(name),
                report=report,
                excludes=list(job.excludes),
                cancel=cancel,
            )
        hit("homelab.backup_made")
        return Run(
            start,
            self.clock() - start,
            made.snapshot,
            made.files,
            made.total_bytes,
            made.added_bytes,
            error=_skipped(made.skipped),
        )

    def _thinned(
        self, name: str, job: pb.BackupJob, run: Run, report: Report, cancel: threading.Event
    ) -> Run:
        """Lets go of what is not kept. That it fails doesn't make the backup a bad one."""
        report("lets go of what is not kept", None)
        left = ""
        try:
            self.restic.forget(repository(job), tags=self.tags(name), keep=keep(job), cancel=cancel)
        except ControlError as error:
            left = f"old snapshots were not let go of: {error}"
        return replace(run, seconds=self.clock() - run.start, left=left)

    def verify(
        self,
        name: str,
        report: Report = _quiet,
        cancel: threading.Event | None = None,
        data_percent: int | None = None,
    ) -> None:
        """Checks the repository; WrongState where it is damaged, which is remembered."""
        job = self._required(name)
        percent = job.check_data_percent if data_percent is None else data_percent
        if percent > 100:
            raise InvalidRequest("how much of the data?", [Violation("data_percent", "must be at most 100")])
        with self._taken(name, job):
            report("checks the repository", None)
            try:
                with _told():
                    self.restic.check(repository(job), data_percent=percent, cancel=cancel or self._ended)
            except Cancelled:
                raise  # which says nothing about the repository
            except ControlError as error:
                self._note(name, last_check=self.clock(), check_error=str(error))
                self.changed(name)
                raise
            self._note(name, last_check=self.clock(), check_error="")
        self.changed(name)

    def test_restore(self, name: str, report: Report = _quiet, cancel: threading.Event | None = None) -> str:
        """Restores the newest snapshot for a moment and compares every byte; its id."""
        job = self._required(name)
        with self._taken(name, job):
            try:
                with _told():
                    identifier = self._restored(name, job, report, cancel or self._ended)
            except Cancelled:
                raise
            except ControlError as error:
                self._note(name, last_restore_test=self.clock(), restore_test_error=str(error))
                self.changed(name)
                raise
            self._note(name, last_restore_test=self.clock(), restore_test_error="")
        self.changed(name)
        return identifier

    def _restored(self, name: str, job: pb.BackupJob, report: Report, cancel: threading.Event) -> str:
        snapshot = self.snapshots.one(name, job, "latest")
        free, wanted = shutil.disk_usage(self._work()).free, self._record(name).total_bytes
        if wanted and free < wanted + _ROOM:
            raise WrongState(
                f"{wanted / 1e9:.1f} GB can't be restored for a test: {self._work()} has {free / 1e9:.1f} GB left",
                next_step="make room, or leave restore_test_schedule out and set check_data_percent",
            )
        folder = Path(tempfile.mkdtemp(prefix="restore-", dir=self._work()))
        try:
            report(f"restores {snapshot.id[:8]} for a moment", None)
            self.restic.restore(repository(job), snapshot.id, folder / "files", cancel=cancel)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return snapshot.id

    # Inside

    def _required(self, name: str) -> pb.BackupJob:
        job = self.job(name)
        if job is None:
            raise NotFound(f"there is no BackupJob {name!r}", next_step="ncc homelab backup lists them")
        return job

    def _hooks(self, name: str) -> Hooks:
        return Hooks(self._engine.containers, self._journal(name), self._held)

    @contextmanager
    def _stopped(self, name: str, job: pb.BackupJob) -> Iterator[None]:
        """Whoever is held while files are read must not run at all while they are written."""
        with self._hooks(name).held([(container, Hold.STOP) for container, _ in holds(job)]):
            yield

    @contextmanager
    def _taken(self, name: str, job: pb.BackupJob) -> Iterator[None]:
        place = _place(job)
        with self._lock:
            if name in self._running or place in self._used:
                raise WrongState(
                    f"{name}: its repository is in use by another run", next_step="wait until that has ended"
                )
            self._running.add(name)
            self._used.add(place)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(name)
                self._used.discard(place)

    def _finish(self, name: str, run: Run) -> None:
        fields: dict[str, Any] = {"error": run.error or run.left}
        if not run.error:
            fields |= {
                "last_success": run.start,
                "added_bytes": run.added_bytes,
                "total_bytes": run.total_bytes,
            }
        with self._lock:
            record = self._records.record(name)
            runs = (run, *record.runs)[:_MOST_RUNS]
            self._records.set_record(name, replace(record, runs=runs, **fields))
        self._marks.clear(name)
        self.changed(name)

    def _scheduled(self, name: str, work: Callable[..., Any]) -> None:
        try:
            work(name, _quiet, self._ended)
        except ControlError as error:
            log.warning("a backup did not go well", job=name, reason=str(error))

    @contextmanager
    def _alone(self, name: str) -> Iterator[bool]:
        """False where the job runs; else it can't begin meanwhile."""
        with self._lock:
            mine = name not in self._running
            self._running.add(name)
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    self._running.discard(name)

    def _record(self, name: str) -> Record:
        with self._lock:
            return self._records.record(name)

    def _note(self, name: str, **fields: Any) -> None:
        with self._lock:
            self._records.set_record(name, replace(self._records.record(name), **fields))

    def _journal(self, name: str) -> Path:
        return self._folder / "journals" / f"{name}.json"

    def _work(self) -> Path:
        folder = self._folder / "work"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder


@contextmanager
def _told() -> Iterator[None]:
    """What the system refuses, as a full disk, is told as any other error."""
    try:
        yield
    except OSError as error:
        raise WrongState(
            f"a file can't be used: {error}", next_step="see whether its disk is full, or can't be written"
        ) from error


def _place(job: pb.BackupJob) -> str:
    """One word for one repository, however it is written."""
    local = repository(job).local
    return job.repository if local is None else os.path.realpath(local)


def _skipped(skipped: Sequence[str]) -> str:
    if not skipped:
        return ""
    return f"{len(skipped)} files could not be read and are missing in it: {'; '.join(skipped[:3])}"
