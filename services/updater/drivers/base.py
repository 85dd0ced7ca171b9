"""What updates need of the host. All methods block and raise ControlErrors; all may be called from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from services.updater.models import Check, Impact, Input, Order


class Step(NamedTuple):
    """How far a long action is; `line` goes to its log."""

    message: str
    percent: int | None = None
    line: str | None = None


Report = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A copy of a flake whose inputs were moved."""

    # Lock files; old is empty where there was none.
    old: bytes
    new: bytes
    # Names the copy for Nix.
    reference: str


class Committed(NamedTuple):
    """A commit of the lock file; `revision` is empty where there is none, and `warning` may say why."""

    revision: str
    warning: str = ""


class Flakes(Protocol):
    """Flakes by their folder, absolute and as the owner writes it."""

    def inputs(self, flake: str) -> Sequence[Input]:
        """All inputs of flake.nix and the lock file, by path. NotFound: no flake. WrongState: either is broken."""

    def parse(self, lock: bytes, declared: Sequence[Input]) -> Sequence[Input]:
        """The inputs as another lock file of the same flake has them. WrongState: it is broken, or from the future."""

    def lock(self, flake: str) -> bytes:
        """The lock file; empty: there is none. NotFound: no flake."""

    def owned(self, flake: str) -> AbstractContextManager[None]:
        """Keeps every other update off the flake, other processes' too. Conflict where one runs."""

    def check_writable(self, flake: str, commit: bool) -> str:
        """Raises WrongState or Forbidden where the lock file could not be written, or not committed as wanted.

        Gives a warning where it will be written but there is a reason not to commit it; else nothing.
        """

    def candidate(
        self,
        flake: str,
        folder: Path,
        updates: Sequence[str],
        pins: Mapping[str, str],
        report: Report,
        cancel: threading.Event,
    ) -> Candidate:
        """Copies the flake into `folder` (made here) and has Nix move `updates` to their newest, `pins` to a revision.

        NotFound: there is no such input. HostUnavailable: a source can't be reached.
        """

    def install(self, flake: str, expected: bytes, new: bytes) -> None:
        """Puts a lock file in place, whole; empty: removes it. Conflict where it isn't `expected` any more."""

    def commit(self, flake: str, message: str) -> Committed:
        """Commits the lock file alone, where the flake is in a git repository; nothing where it is committed so."""

    def stamp(self, flake: str) -> object:
        """Changes whenever flake.nix or the lock file do; cheap."""


class Outcome(StrEnum):
    """How a switch ended, or that it did not."""

    OPEN = "OPEN"
    CONFIRMED = "CONFIRMED"
    ROLLED_BACK = "ROLLED_BACK"
    # It was never begun, or nobody knows of it any more.
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Switched:
    """How a switch ended; `generation` is 0 where there is none."""

    outcome: Outcome
    generation: int = 0
    message: str = ""


class HostSystem(Protocol):
    """The host's generations, which the system service owns. HostUnavailable while it doesn't answer."""

    def build(self, reference: str, configuration: str, report: Report, cancel: threading.Event) -> str:
        """Builds the host from a flake; gives the new system's store path."""

    def impact(self, toplevel: str, activation: bool, report: Report, cancel: threading.Event) -> Impact:
        """What it changes against the running one; with what activating it would do where asked."""

    def probe(self, probes: Sequence[str], report: Report, cancel: threading.Event) -> Sequence[Check]:
        """Runs probes against the system as it runs now."""

    def generation(self) -> int:
        """Number of the generation that is the default; 0: there is none."""

    def toplevel(self, generation: int) -> str:
        """Store path of a generation. NotFound."""

    def mark(self) -> str:
        """Names the last switch that there was, ours or not."""

    def switch(self, toplevel: str, order: Order, report: Report, cancel: threading.Event) -> Switched:
        """Switches in two phases and waits for the verdict. Raises what kept it from starting, or from being told."""

    def outcome(self, mark: str, toplevel: str) -> Switched:
        """What became of a switch to `toplevel` that was begun after the `mark`, perhaps before a restart."""

    def roll_back(self, generation: int, report: Report, cancel: threading.Event) -> int:
        """Switches to an earlier generation; gives the number that is the default then."""


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel; `path` is where it was unpacked, empty: never fetched."""

    name: str
    url: str
    path: str = ""


class Channels(Protocol):
    """The root user's Nix channels."""

    def all(self) -> Mapping[str, ChannelState]:
        """By name."""

    def set(self, name: str, url: str) -> None:
        """Adds it or changes its address, and fetches it. HostUnavailable: can't be fetched; it is as before then."""

    def remove(self, name: str) -> bool:
        """Forgets it; False: gone already."""

    def update(self, names: Sequence[str]) -> None:
        """Fetches these, or all; all or none change. NotFound, HostUnavailable."""

    def roll_back(self) -> None:
        """As before the last fetch. NotFound: there is no before."""


class Notifier(Protocol):
    """Tells people how updates ended."""

    def command(self, argv: Sequence[str], body: bytes) -> None:
        """Runs a program with the body on its standard input."""

    def webhook(self, file: str, body: bytes) -> None:
        """Posts the body, as JSON, to the address on the file's first line; errors never show the address."""


class UpdaterDriver(Protocol):
    """One host."""

    @property
    def name(self) -> str:
        """`nix` or `memory`."""

    @property
    def flakes(self) -> Flakes:
        """Its flakes."""

    @property
    def system(self) -> HostSystem:
        """Its generations."""

    @property
    def channels(self) -> Channels:
        """Its channels."""

    @property
    def notifier(self) -> Notifier:
        """Who is told."""

    def error(self) -> str:
        """Why this host can't have updates and what would help; empty: it can."""

    def close(self) -> None:
        """Ends connections."""
