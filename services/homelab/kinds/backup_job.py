"""The kind BackupJob: what is declared is kept in the service's folder, where the schedule reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from common import cron
from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.jobs import Jobs
from services.homelab.backup.models import Status

# Files are named after it, and tags.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# What restic takes, as Go's filepath.Match does: what it can't read would make each run fail.
_PATTERN = re.compile(r"([^\\\[]|\\.|\[\^?([^\]\\]|\\.)+\])+", re.DOTALL)
# What is told, never asked for.
_TOLD = ("last_success", "last_added_bytes", "last_total_bytes", "next_run", "last_error")


class BackupJobKind:
    """Backup jobs. `wake` tells the schedule that something has changed."""

    spec = pb.BackupJob

    def __init__(self, jobs: Jobs, wake: Callable[[], None], reason: str = "") -> None:
        self._jobs = jobs
        self._wake = wake
        self._reason = reason

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason or self._jobs.restic.unsupported()

    def validate(self, name: str, spec: pb.BackupJob) -> Sequence[Violation]:
        """See Kind."""
        found = []
        if _NAME.fullmatch(name) is None:
            found.append(Violation("metadata.name", "files are named after it: letters, digits, . _ -"))
        for field in ("schedule", "check_schedule", "restore_test_schedule"):
            if getattr(spec, field) and (wrong := cron.wrong(getattr(spec, field))):
                found.append(Violation(field, wrong))
        try:
            cron.zone(spec.time_zone)
        except ValueError as error:
            found.append(Violation("time_zone", str(error)))
        dumps = any(hook.action == pb.BACKUP_HOOK_ACTION_DUMP for hook in spec.hooks)
        if not (spec.paths or spec.volumes or spec.vms or spec.own_state or dumps):
            found.append(
                Violation("paths", "there is nothing to back up: name paths, volumes, vms or a DUMP hook")
            )
        found += [
            Violation(f"paths[{index}]", "must be without ..")
            for index, path in enumerate(spec.paths)
            if ".." in path.split("/")
        ]
        found += [
            Violation(f"excludes[{index}]", "is no pattern: each [ needs its ], and \\ something after it")
            for index, pattern in enumerate(spec.excludes)
            if not _PATTERN.fullmatch(pattern)
        ]
        return [*found, *_hooks(spec)]

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.BackupJob]]:
        """See Kind."""
        found: dict[str, Detection[pb.BackupJob]] = {}
        for key in keys:
            job = self._jobs.job(key)
            if job is None:
                found[key] = None
                continue
            try:
                status = self._jobs.status(key)
            except ControlError as error:
                found[key] = error
                continue
            _tell(job, status)
            found[key] = Detected(job, unhealthy=_unhealthy(status))
        return found

    def apply(self, change: Change[pb.BackupJob], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            gone = self._jobs.drop(change.key)
            self._wake()
            return Applied("its backups stay in the repository" if gone else "was gone already", changed=gone)
        job = pb.BackupJob()
        job.CopyFrom(change.desired)
        for field in _TOLD:
            job.ClearField(field)  # type: ignore[arg-type]
        if self._jobs.job(change.key) == job:
            return Applied("it was so already", changed=False)
        self._jobs.declare(change.key, job)
        self._wake()
        return Applied("the schedule is set")

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return self._jobs.names()

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._jobs.changed = lambda name: emit((name,))

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: all are always told about."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._jobs.changed = lambda _: None


def _hooks(spec: pb.BackupJob) -> list[Violation]:
    found = []
    files: set[str] = set()
    held: set[str] = set()
    for index, hook in enumerate(spec.hooks):
        where = f"hooks[{index}]"
        if hook.action == pb.BACKUP_HOOK_ACTION_DUMP:
            if not hook.command:
                found.append(Violation(f"{where}.command", "a DUMP needs the program whose output is kept"))
            if not hook.file_name:
                found.append(Violation(f"{where}.file_name", "a DUMP needs a name for its file"))
            elif hook.file_name in files:
                found.append(Violation(f"{where}.file_name", "is that of another hook, too"))
            files.add(hook.file_name)
            continue
        if hook.command or hook.file_name:
            found.append(Violation(f"{where}.command", "goes with DUMP"))
        if hook.container in held:
            found.append(Violation(f"{where}.container", "is held by another hook already"))
        held.add(hook.container)
    return found


def _tell(job: pb.BackupJob, status: Status) -> None:
    record = status.record
    if record.last_success:
        job.last_success.FromMilliseconds(round(record.last_success * 1000))
        job.last_added_bytes = record.added_bytes
        job.last_total_bytes = record.total_bytes
    if math.isfinite(status.next_run):
        job.next_run.FromMilliseconds(round(status.next_run * 1000))
    if record.error:
        job.last_error = record.error


def _unhealthy(status: Status) -> str:
    """Why it can't be relied on; empty: it can."""
    record = status.record
    if record.last_success:
        since = f"the last good one was made {datetime.fromtimestamp(record.last_success).astimezone():%Y-%m-%d %H:%M}"
    else:
        since = "there is no good backup yet"
    if status.overdue:
        return f"overdue: {since}{f'; {record.error}' if record.error else ''}"
    if record.error and not status.running:
        made = record.last_success == record.last_try
        return f"{'the last run made its backup, but' if made else 'the last run failed:'} {record.error}; {since}"
    if record.check_error:
        return f"the repository's check failed: {record.check_error}"
    if record.restore_test_error:
        return f"restoring for a test failed: {record.restore_test_error}"
    return ""
