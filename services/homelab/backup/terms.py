"""What a job's fields mean to restic and to the schedule."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path

from common import cron
from nixcc.homelab.v1 import backup_pb2 as pb
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
