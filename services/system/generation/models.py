"""Nouns: what to switch to, what was built, the window of a switch, the generations of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

UNKNOWN = "Unknown"


class Mode(StrEnum):
    """How far a switch goes."""

    SWITCH = "SWITCH"
    BOOT = "BOOT"
    TEST = "TEST"


class Confirm(StrEnum):
    """Who says that it is fine."""

    AUTO = "AUTO"
    MANUAL = "MANUAL"


class State(StrEnum):
    """Where a window is; the last three have ended."""

    PREPARED = "PREPARED"
    TESTING = "TESTING"
    WAITING = "WAITING"
    COMMITTING = "COMMITTING"
    REVERTING = "REVERTING"
    CONFIRMED = "CONFIRMED"
    ROLLED_BACK = "ROLLED_BACK"
    REVERT_FAILED = "REVERT_FAILED"

    @property
    def ended(self) -> bool:
        """Nothing follows."""
        return self in (State.CONFIRMED, State.ROLLED_BACK, State.REVERT_FAILED)


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that must work: `sort` is `unit`, `http`, `tcp`, `dns` or `command`, `arguments` what it needs.

    unit: unit · http: url, status (0: 200 to 399), contains · tcp: host, port · dns: name, address · command: argv.
    """

    name: str
    sort: str
    arguments: Mapping[str, Any]
    # Seconds in which it must pass.
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run: a flake's attribute or a path in the store, how far to go, and what must work then."""

    flake: str = ""
    attribute: str = ""
    toplevel: str = ""
    mode: Mode = Mode.SWITCH
    specialisation: str = ""
    probes: tuple[Probe, ...] = ()
    no_new_failed_units: bool = True
    confirm: Confirm = Confirm.AUTO
    # Seconds.
    deadline: float = 300.0

    def as_json(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Built:
    """A system in the store."""

    toplevel: str
    # The flake as it was locked; empty: none, or not known.
    locked: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """One switch as the journal has it."""

    id: str
    state: State
    mode: Mode
    old: str
    new: str
    specialisation: str
    confirm: Confirm
    # Unix times; `ended` is 0 while it is open.
    started: float
    deadline: float
    ended: float
    reason: str
    exit_code: int | None
    # Written by whoever opened it: the wish, and what to remember when it is confirmed.
    wish: Mapping[str, Any]
    locked: str
    # Failed units before the switch; None: not looked at.
    baseline: tuple[str, ...] | None
    # A guard lives.
    guarded: bool = False
    probes: tuple[Probe, ...] = ()
    no_new_failed_units: bool = True

    @property
    def target(self) -> str:
        """What runs while it is tried: the system, or its specialisation."""
        return f"{self.new}/specialisation/{self.specialisation}" if self.specialisation else self.new


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a profile; `Unknown` where a fact can't be read (as nixos-rebuild says it)."""

    number: int
    date: str
    # Seconds since 1970.
    made: float
    nixos_version: str
    kernel_version: str
    configuration_revision: str
    specialisations: tuple[str, ...]
    current: bool
    toplevel: str
    running: bool = False
    booted: bool = False


@dataclass(frozen=True, slots=True)
class UnitChanges:
    """What dry-activate says."""

    stop: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    systemd: bool = False


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package whose versions differ; sizes in bytes."""

    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    size_change: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What switching would change."""

    old: str
    new: str
    packages: tuple[PackageChange, ...]
    old_size: int | None
    new_size: int | None
    units: UnitChanges | None
    reboot_reasons: tuple[str, ...]
    boot_free: int | None
    boot_needed: int
    inhibitors: tuple[str, ...]
    specialisations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What was last confirmed here: of which wish the toplevel was built, so that a look can tell."""

    toplevel: str
    flake: str = ""
    attribute: str = ""
    locked: str = ""
    mode: Mode = Mode.SWITCH
    specialisation: str = ""
    window: str = ""
    # What was kept of old generations; 0: not said.
    keep: int = 0
    max_age: int = 0


def probe_of(row: Mapping[str, Any]) -> Probe:
    """The probe that `asdict` made of one."""
    return Probe(row["name"], row["sort"], row["arguments"], float(row["timeout"]))


def names(values: Sequence[str], most: int = 5) -> str:
    """`a, b and 3 more`."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more
