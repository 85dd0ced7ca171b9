"""What the service needs of the host, as protocols. All methods block and raise ControlErrors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from common.manager import Emit
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.models import (
    CacheState,
    Edit,
    Element,
    Generation,
    Installable,
    Lock,
    NixSettings,
    Root,
    StoreObject,
    Verified,
)

Tell = Callable[[Progress], None]


class ProfileDriver(Protocol):
    """The control center's own profile."""

    name: str

    def unsupported(self) -> str:
        """Why this host can't have it; empty: it can."""

    def path(self) -> str:
        """The profile's link."""

    def elements(self) -> Sequence[Element]:
        """What it holds now; none where there is no profile yet. WrongState where its manifest can't be read."""

    def lock(self, flake: str) -> Lock:
        """The flake at the revision that it has now."""

    def version_of(self, package: Installable) -> str:
        """The version that the flake has of it, evaluated and not built."""

    def prepare(self, package: Installable, tell: Tell, cancel: threading.Event) -> None:
        """Builds or fetches it, so that an edit that adds it is short; several may run side by side."""

    def edit(
        self, edit: Edit, tell: Tell, cancel: threading.Event, check: Callable[[Sequence[Element]], None]
    ) -> Sequence[Element]:
        """Changes the profile as one new generation, or not at all; gives what it holds then.

        `check` looks at what it would hold, and may raise to leave all as it was.
        """

    def generations(self) -> Sequence[Generation]:
        """The oldest first."""

    def switch(self, number: int) -> None:
        """Puts it back (or on) to a generation."""

    def delete_generations(self, numbers: Sequence[int]) -> None:
        """Removes generations; the current one is refused."""

    def watch(self, emit: Emit) -> None:
        """Tells, by `emit(())`, that the profile may have changed; called once."""

    def close(self) -> None:
        """Ends the watch."""


class StoreDriver(Protocol):
    """The Nix store."""

    def store_dir(self) -> str:
        """Where it is: `/nix/store`."""

    def resolve(self, link: str) -> str:
        """The store path that a link or a path inside of the store leads to; NotFound where there is none."""

    def closure(self, paths: Sequence[str]) -> Mapping[str, StoreObject]:
        """These and all that they need, by path."""

    def referrers(self, path: str, *, indirect: bool) -> Sequence[StoreObject]:
        """What needs it; not itself."""

    def roots(self) -> Sequence[Root]:
        """What keeps paths; KEPT ones are made sure of first."""

    def dead(self) -> Mapping[str, int]:
        """Paths that nothing keeps, with their bytes."""

    def collect(self, max_bytes: int, tell: Tell, cancel: threading.Event) -> Mapping[str, int]:
        """Removes what nothing keeps; what went, with its bytes."""

    def verify(self, *, repair: bool, tell: Tell, cancel: threading.Event) -> Verified:
        """Checks all paths against their hashes."""

    def optimise(self, tell: Tell, cancel: threading.Event) -> tuple[int, int]:
        """Makes equal files one; files and bytes."""


class CacheDriver(Protocol):
    """Binary caches."""

    def settings(self) -> NixSettings:
        """What Nix is set to use on this host."""

    def states(self, urls: Iterable[str]) -> Sequence[CacheState]:
        """How they are; one that doesn't answer is told as such."""


class CatalogDriver(Protocol):
    """Where an index comes from."""

    def lock(self, flake: str) -> Lock:
        """The flake at the revision that it has now."""

    def build(
        self, lock: Lock, source: str, target: str, before: str, tell: Tell, cancel: threading.Event
    ) -> None:
        """Writes the index of a flake (or of a prebuilt file `source`) to `target`, versions of `before` kept."""


class DeclaredSets(Protocol):
    """Package sets that are declared now."""

    def conflicts(self) -> Mapping[str, Sequence[str]]:
        """Of each set, by name, those it can't be had beside; none where nobody can tell."""
