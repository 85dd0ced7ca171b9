"""What a job's fields mean to restic and to the schedule."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import tzinfo
from pathlib import Path

from common import cron
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.models import Record
from services.homelab.drivers.restic_repository import Repository


def repository(job: pb.BackupJob) -> Repository:
    """Where it backs up to."""
    environment = Path(job.environment_file) if job.environment_file else None
    return Repository(job.repository, Path(job.password_file), environment)


def tag(name: str) -> str:
    """Its snapshots' tag: a repository may hold others', too."""
    return f"nixcc-{name}"


def keep(job: pb.BackupJob) -> dict[str, int]:
    """How many of each sort are kept; empty: all."""
    names = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    return {name: count for name in names if (count := int(getattr(job.retention, name)))}


def zone(job: pb.BackupJob) -> tzinfo | None:
    """Where its schedule is to be read; None: where the host is."""
    return cron.zone(job.time_zone)


def next_run(job: pb.BackupJob, record: Record) -> float:
    """When it runs next, in seconds since the epoch; in the past where it was missed; infinity: never."""
    if job.paused:
        return math.inf
    if record.again:
        return record.last_try
    return cron.following(job.schedule, max(record.last_try, record.since), zone(job))


def next_check(job: pb.BackupJob, record: Record) -> float:
    """When its repository is checked next, likewise."""
    return _next(job, job.check_schedule, record.last_check or record.since)


def next_restore_test(job: pb.BackupJob, record: Record) -> float:
    """When files are restored for a test next, likewise."""
    return _next(job, job.restore_test_schedule, record.last_restore_test or record.since)


def not_after(record: Record, now: float) -> Record:
    """The record without times to come: a clock that was wrong for a while must not hold back runs for years."""
    fields = ("since", "last_try", "last_success", "last_check", "last_restore_test")
    return replace(record, **{name: min(getattr(record, name), now) for name in fields})


def _next(job: pb.BackupJob, expression: str, after: float) -> float:
    if job.paused or not expression:
        return math.inf
    return cron.following(expression, after, zone(job))
