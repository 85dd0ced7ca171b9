"""Nouns of backup jobs. Times in seconds since the epoch, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `error` empty: it went well. `left`: why old snapshots were not let go of, though a new one was made."""

    start: float
    seconds: float = 0.0
    snapshot: str = ""
    files: int = 0
    total_bytes: int = 0
    added_bytes: int = 0
    error: str = ""
    left: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a job."""

    # Since when it is declared as it is; runs that were due before were not missed.
    since: float = 0.0
    # It has had a repository: from then on none is made anew.
    opened: bool = False
    last_try: float = 0.0
    last_success: float = 0.0
    added_bytes: int = 0
    total_bytes: int = 0
    error: str = ""
    last_check: float = 0.0
    check_error: str = ""
    last_restore_test: float = 0.0
    restore_test_error: str = ""
    # Its last run was interrupted: it is made up for.
    again: bool = False
    # The newest first.
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How a job is doing. `next_run` infinite: never."""

    job: str
    record: Record
    next_run: float
    overdue: bool
    running: bool
