"""When runs are due, by cron expressions. Pure; times are seconds since the epoch."""

from __future__ import annotations

from datetime import tzinfo

from common.cron import following
from services.system.backup.models import Archive, Policy, Record

# After a failure it is tried again so much later, in seconds.
RETRY = 3_600.0
# How much later than due an archive may come before it counts as overdue, in seconds.
GRACE = 3_600.0
_NEVER = float("inf")


def next_run(policy: Policy, record: Record, zone: tzinfo) -> float:
    """When to back up next; in the past where a run was missed."""
    scheduled = following(policy.schedule, max(record.last_try, record.since), zone)
    return min(scheduled, record.last_try + RETRY) if record.error else scheduled


def next_verification(policy: Policy, record: Record, zone: tzinfo) -> float:
    """When to verify next; infinity: never."""
    if not policy.verify_schedule or newest(record) is None:
        return _NEVER
    return following(policy.verify_schedule, max(record.last_verify, record.since), zone)


def newest(record: Record) -> Archive | None:
    """The newest archive that nothing is known to be wrong with."""
    good = [archive for archive in record.archives if not archive.problem]
    return max(good, key=lambda archive: archive.created, default=None)


def overdue(policy: Policy, record: Record, now: float, zone: tzinfo) -> bool:
    """Whether the newest good archive is older than the schedule allows."""
    last = newest(record)
    reference = max(last.created if last is not None else 0.0, record.since)
    return now > following(policy.schedule, reference, zone) + GRACE
