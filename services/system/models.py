"""The system service's nouns, free of protobuf and of system calls."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

# Files beyond it are neither managed nor read, in bytes.
MAX_CONTENT = 1 << 20


class FileType(enum.Enum):
    """What lies at a path."""

    REGULAR = "file"
    SYMLINK = "symbolic link"
    DIRECTORY = "folder"
    # FIFOs, sockets and devices: told, never opened, never replaced.
    SPECIAL = "special file"


class FileState(NamedTuple):
    """What the host has at a path (a tuple, since a pass makes thousands)."""

    type: FileType
    # Permission bits, 0 to 0o7777.
    mode: int
    # Name in the host's user database, else the number.
    owner: str
    group: str
    # The numbers behind the names.
    uid: int
    gid: int
    # Of a regular file; None where it is larger than MAX_CONTENT.
    content: bytes | None = None
    # Of a symbolic link; other types: empty.
    target: str = ""


class FileWish(NamedTuple):
    """What a path should become. None means: leave it as it is, or take the default for something new."""

    type: FileType
    content: bytes = b""
    target: str = ""
    mode: int | None = None
    # Names, or numbers in decimal digits.
    owner: str | None = None
    group: str | None = None


# Modes of what is new and has none of its own, whatever the umask.
DEFAULT_MODE = {FileType.REGULAR: 0o644, FileType.DIRECTORY: 0o755}


class SysctlState(NamedTuple):
    """A kernel parameter that is kept."""

    # What the kernel has now, white space folded.
    live: str
    # What the record will set at the next start; empty: its line is gone.
    stored: str
    # What was last asked for.
    applied: str


def folded(value: str) -> str:
    """The value with each run of white space as one space."""
    return " ".join(value.split())


def canonical_parameter(name: str) -> str:
    """The name with dots between its parts, whichever separator it was written with (sysctl.d(5))."""
    if "/" not in name or ("." in name and name.index(".") < name.index("/")):
        return name
    return name.translate(str.maketrans("./", "/."))


class UnitState(NamedTuple):
    """A unit of systemd."""

    found: bool
    enabled: bool = False
    active: bool = False
    masked: bool = False
    # Name and content of each drop-in of ours that is in effect.
    drop_ins: tuple[tuple[str, str], ...] = ()
    # Why it does not work; empty: it does.
    failure: str = ""


class UnitWish(NamedTuple):
    """What a unit should become; None: leave it."""

    enabled: bool | None = None
    active: bool | None = None
    masked: bool | None = None
    drop_ins: tuple[tuple[str, str], ...] = ()
    restart_on_change: bool = True


class Identity(NamedTuple):
    """Who the host is; None: not set, or leave it."""

    hostname: str | None = None
    time_zone: str | None = None
    locale: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host is; empty texts and zeros: not known."""

    hostname: str
    os: str
    os_version: str
    os_name: str
    kernel: str
    architecture: str
    machine_id: str
    boot_id: str
    # Seconds since the epoch.
    boot_time: float
    processors: int
    memory: int
    init: str
    nixos: bool
    current_system: str
    generation: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """Percent of time in which some or all tasks waited, over 10, 60 and 300 seconds."""

    resource: str
    some: tuple[float, float, float]
    full: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A mounted file system; bytes and inodes."""

    mount_point: str
    source: str
    type: str
    total: int
    available: int
    inodes: int
    free_inodes: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class Vitals:
    """What was measured at one moment."""

    # Seconds since the epoch.
    time: float
    # Load averages over 1, 5 and 15 minutes.
    load: tuple[float, float, float]
    processors: int
    pressures: tuple[Pressure, ...]
    # Bytes.
    memory_total: int
    memory_available: int
    swap_total: int
    swap_free: int
    file_systems: tuple[FileSystem, ...]
    failed_units: tuple[str, ...] = ()
    # What could not be measured, and why.
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong: what it is about, and a sentence with the next step."""

    critical: bool
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class RebootState:
    """What tells whether the host should be restarted."""

    running_kernel: str
    # Newest one that is installed; empty: not known.
    installed_kernel: str = ""
    # Debian's packages that asked for it.
    requested_by: tuple[str, ...] = ()
    requested: bool = False
    # NixOS: parts of the running system that are not those it was started with.
    changed_parts: tuple[str, ...] = ()
