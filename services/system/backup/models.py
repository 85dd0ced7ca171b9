"""Nouns of backups."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

SUFFIX = ".tar.gz.age"
MANUAL = "manual"
_NAME = re.compile(r"(?P<policy>.+)-(?P<time>\d{8}T\d{6})(?P<part>\d{3})Z\.tar\.gz\.age")


@dataclass(frozen=True, slots=True)
class Keep:
    """How many archives of each sort to keep."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


@dataclass(frozen=True, slots=True)
class Encryption:
    """To whom, or with what. Exactly one is set."""

    recipients: tuple[str, ...] = ()
    passphrase_file: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """What opens an archive: a file with a private key, or one with a passphrase."""

    identity_file: str = ""
    passphrase_file: str = ""

    def __bool__(self) -> bool:
        return bool(self.identity_file or self.passphrase_file)


@dataclass(frozen=True, slots=True)
class Policy:
    """A declared StateBackup."""

    name: str
    schedule: str
    folder: str
    encryption: Encryption
    identity_file: str = ""
    verify_schedule: str = ""
    # None: keep all.
    keep: Keep | None = None
    nixos: bool = True

    @property
    def key(self) -> Key:
        """What verifies its archives here; false where nothing does."""
        return Key(self.identity_file, "" if self.identity_file else self.encryption.passphrase_file)


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive file."""

    path: str
    policy: str
    # Seconds since the epoch.
    created: float
    size: int
    # Hexadecimal digits; empty: not made here.
    sha256: str = ""
    # Seconds since the epoch; 0: never.
    verified: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered about a policy between runs; times in seconds since the epoch, 0: never."""

    # When it was first declared here: before that no run was missed.
    since: float = 0.0
    last_try: float = 0.0
    error: str = ""
    last_verify: float = 0.0
    verify_error: str = ""
    archives: tuple[Archive, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How a policy is doing."""

    policy: str
    record: Record
    last_good: Archive | None
    next_run: float
    overdue: bool
    running: bool


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds."""

    entries: int
    size: int
    databases: int
    # Seconds since the epoch.
    created: float
    host: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """Where an archive was restored to."""

    target: str
    contents: Contents
    replaced: str = ""
    next_steps: tuple[str, ...] = field(default=())


def archive_name(policy: str, created: float) -> str:
    """A file name that sorts by time and tells the policy."""
    time = datetime.fromtimestamp(created, UTC)
    return f"{policy}-{time:%Y%m%dT%H%M%S}{time.microsecond // 1000:03}Z{SUFFIX}"


def parse_name(name: str) -> tuple[str, float] | None:
    """Policy and time (seconds since the epoch) of a file name; None: it is no archive's."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        time = datetime.strptime(found["time"], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return found["policy"], time.timestamp() + int(found["part"]) / 1000
