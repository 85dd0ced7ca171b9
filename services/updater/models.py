"""Nouns of updates. Times are seconds since the epoch; revisions are commit hashes, or content hashes without one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")


class Mode(StrEnum):
    """How far an update goes."""

    CHECK = "CHECK"
    BUILD = "BUILD"
    LOCK = "LOCK"
    BOOT = "BOOT"
    SWITCH = "SWITCH"

    @property
    def writes(self) -> bool:
        """The lock file changes."""
        return self in (Mode.LOCK, Mode.BOOT, Mode.SWITCH)

    @property
    def builds(self) -> bool:
        """The host is built."""
        return self in (Mode.BUILD, Mode.BOOT, Mode.SWITCH)

    @property
    def switches(self) -> bool:
        """The host gets a new generation."""
        return self in (Mode.BOOT, Mode.SWITCH)


class Validation(StrEnum):
    """What must hold before the switch; each includes the ones before it."""

    BUILD = "BUILD"
    DRY_ACTIVATE = "DRY_ACTIVATE"
    PROBES = "PROBES"


class Result(StrEnum):
    """How an update stands."""

    RUNNING = "RUNNING"
    UNCHANGED = "UNCHANGED"
    AVAILABLE = "AVAILABLE"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ROLLED_BACK = "ROLLED_BACK"
    ABORTED = "ABORTED"
    TAKEN_BACK = "TAKEN_BACK"

    @property
    def bad(self) -> bool:
        """Somebody should look at it."""
        return self in (Result.FAILED, Result.ROLLED_BACK, Result.ABORTED)


class Phase(StrEnum):
    """Where an update is: what to finish when it died there."""

    PREPARING = "PREPARING"  # nothing outside our own folder was touched
    INSTALLING = "INSTALLING"  # the lock file may be the old or the new one; nothing was switched
    SWITCHING = "SWITCHING"  # the system service was asked; it knows how that ended
    COMMITTING = "COMMITTING"  # it holds; the commit may be missing
    RESTORING = "RESTORING"  # it does not hold; the lock file may still be the new one
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a flake: what flake.nix says, and what the lock file does. Paths are joined by slashes."""

    path: str
    # As flake.nix has it; None: it is not said there (an input's own input).
    url: str | None = None
    follows: str | None = None
    # Line of flake.nix that says so; 0: unknown.
    line: int = 0
    # From the lock file; empty: it is not in there.
    locked: str = ""
    revision: str = ""
    time: int | None = None


@dataclass(frozen=True, slots=True)
class InputChange:
    """One input that differs between two lock files; references are empty where it is missing."""

    path: str
    before: str = ""
    after: str = ""
    old_revision: str = ""
    new_revision: str = ""
    old_time: int | None = None
    new_time: int | None = None


@dataclass(frozen=True, slots=True)
class Package:
    """One package that differs; versions joined by commas, empty where it is missing."""

    name: str
    old_version: str = ""
    new_version: str = ""
    size_change: int = 0


@dataclass(frozen=True, slots=True)
class Impact:
    """What an update does to the host; sizes in bytes."""

    toplevel: str
    packages: tuple[Package, ...] = ()
    closure_size: int = 0
    closure_change: int = 0
    reboot_needed: bool = False
    reboot_reasons: tuple[str, ...] = ()
    activation: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Impact:
        """As `asdict` made it."""
        packages = tuple(_made(Package, package) for package in value.get("packages", ()))
        made = _made(cls, value)
        return cls(
            made.toplevel,
            packages,
            made.closure_size,
            made.closure_change,
            made.reboot_needed,
            tuple(made.reboot_reasons),
            tuple(made.activation),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What an update would change."""

    flake: str
    changes: tuple[InputChange, ...] = ()
    kept: tuple[str, ...] = ()
    impact: Impact | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What to update, and how; everything is decided."""

    flake: str
    configuration: str = ""
    inputs: tuple[str, ...] = ()
    # Inputs to lock to a revision, by path; then nothing else moves.
    pins: tuple[tuple[str, str], ...] = ()
    mode: Mode = Mode.SWITCH
    validation: Validation = Validation.DRY_ACTIVATE
    # The owner confirms; else the probes do.
    manual: bool = False
    confirm_within: int = 300
    # Probes as the system service takes them: JSON of its messages.
    probes: tuple[str, ...] = ()
    restore_lock: bool = True
    commit: bool = True
    policy: str = ""
    requested_by: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that validation looked at."""

    name: str
    passed: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Update:
    """One update, past or running: a row of the journal."""

    id: str
    flake: str
    mode: Mode
    start: float
    configuration: str = ""
    policy: str = ""
    requested_by: str = ""
    end: float | None = None
    result: Result = Result.RUNNING
    phase: Phase = Phase.PREPARING
    message: str = ""
    changes: tuple[InputChange, ...] = ()
    impact: Impact | None = None
    commit: str = ""
    old_generation: int = 0
    new_generation: int = 0
    warnings: tuple[str, ...] = ()
    # What finishing it needs to know.
    restore_lock: bool = True
    wants_commit: bool = True
    # What the system service named its last switch before this one.
    mark: str = ""
    # The update that this one takes back.
    takes_back: str = ""

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Update:
        """As `to_json` wrote it, also by another version; ValueError and KeyError for anything else."""
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        known = {name: value[name] for name in (f.name for f in fields(cls)) if name in value}
        known["mode"] = Mode(known["mode"])
        known["result"] = Result(known["result"])
        known["phase"] = Phase(known["phase"])
        known["changes"] = tuple(_made(InputChange, change) for change in value.get("changes", ()))
        known["warnings"] = tuple(value.get("warnings", ()))
        known["impact"] = Impact.from_json(value["impact"]) if value.get("impact") else None
        return cls(**known)


@dataclass(frozen=True, slots=True)
class ChannelChange:
    """One channel that was fetched; paths are empty where it never was."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps updates off an input."""

    pin: str = ""
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the day; `days` as Monday = 0, empty: every day."""

    begin_minute: int
    seconds: int
    days: frozenset[int] = field(default_factory=frozenset)


def changed_text(changes: Sequence[InputChange]) -> str:
    """One line an input, as in a commit's message."""
    return "\n".join(
        f"{c.path}: {_short(c.old_revision) or '(new)'} → {_short(c.new_revision) or '(removed)'}"
        for c in changes
    )


def _short(revision: str) -> str:
    """Twelve digits of a commit; hashes of content as they are."""
    return revision[:12] if len(revision) in (40, 64) else revision


def _made(cls: type[T], value: Any) -> T:
    names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: value[name] for name in value if name in names})
