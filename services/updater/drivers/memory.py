"""A host in memory: flakes whose lock files are real ones, generations that are names, channels, and who was told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import (
    Cancelled,
    Conflict,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    WrongState,
)
from services.updater.drivers.base import (
    Candidate,
    ChannelState,
    Committed,
    Outcome,
    Report,
    Step,
    Switched,
)
from services.updater.drivers.lock_inputs import lock_inputs
from services.updater.models import Check, Impact, Input, Order, Package

FIRST_DATE = 1_700_000_000


@dataclass
class MemoryFlake:
    """flake.nix, the lock file, and the git repository around them."""

    # Name -> address; `follows:NAME` for one that follows another.
    declared: dict[str, str]
    lock: bytes = b""
    git: bool = True
    writable: bool = True
    detached: bool = False
    # The lock file as the repository has it, and messages of its commits.
    committed: bytes = b""
    commits: list[str] = field(default_factory=list)
    version: int = 0


class MemoryFlakes:
    """Flakes by folder; `sources` are what their inputs come from: address -> revisions, oldest first."""

    def __init__(self) -> None:
        self.flakes: dict[str, MemoryFlake] = {}
        self.sources: dict[str, list[str]] = {}
        self.unreachable: set[str] = set()
        self._locks: dict[str, threading.Lock] = {}

    def inputs(self, flake: str) -> Sequence[Input]:
        found = self._get(flake)
        return lock_inputs(found.lock, self._declared(found))

    def parse(self, lock: bytes, declared: Sequence[Input]) -> Sequence[Input]:
        return lock_inputs(lock, declared)

    def lock(self, flake: str) -> bytes:
        return self._get(flake).lock

    @contextlib.contextmanager
    def owned(self, flake: str) -> Iterator[None]:
        self._get(flake)
        lock = self._locks.setdefault(flake, threading.Lock())
        if not lock.acquire(blocking=False):
            raise Conflict(f"an update of {flake} runs already", next_step="wait until it has ended")
        try:
            yield
        finally:
            lock.release()

    def check_writable(self, flake: str, commit: bool) -> str:
        found = self._get(flake)
        if not found.writable:
            raise Forbidden(f"{flake} can't be written", next_step="make it writable")
        if commit and found.git and found.detached:
            raise WrongState(f"{flake} is on no branch", next_step="check one out: git switch main")
        if commit and found.git and found.lock != found.committed:
            raise WrongState(f"the lock file of {flake} has changes that are not committed")
        return ""

    def candidate(
        self,
        flake: str,
        folder: Path,
        updates: Sequence[str],
        pins: Mapping[str, str],
        report: Report,
        cancel: threading.Event,
    ) -> Candidate:
        found = self._get(flake)
        if cancel.is_set():
            raise Cancelled("it was cancelled")
        locked = {one.path: one.revision for one in lock_inputs(found.lock, self._declared(found))}
        for path in (*updates, *pins):
            if path not in found.declared:
                raise NotFound(f"{flake} has no input {path}")
        nodes: dict[str, object] = {}
        root: dict[str, object] = {}
        for name, url in sorted(found.declared.items()):
            if url.startswith("follows:"):
                root[name] = url.removeprefix("follows:").split("/")
                continue
            revision = pins.get(name) or locked.get(name, "")
            if name in updates or not revision:
                revision = self._newest(url)
            elif name in pins and revision not in self.sources.get(url, ()):
                raise NotFound(f"{url} has no revision {revision}")
            root[name] = name
            nodes[name] = _node(url, revision, self.sources.get(url, [revision]))
        nodes["root"] = {"inputs": root}
        new = (
            json.dumps({"nodes": nodes, "root": "root", "version": 7}, indent=2, sort_keys=True).encode()
            + b"\n"
        )
        digest = hashlib.sha256(new).hexdigest()[:8]
        return Candidate(found.lock, new, f"memory:{flake}?lock={digest}")

    def install(self, flake: str, expected: bytes, new: bytes) -> None:
        found = self._get(flake)
        if not found.writable:
            raise Forbidden(f"{flake} can't be written", next_step="make it writable")
        if found.lock == new:
            return
        if found.lock != expected:
            raise Conflict(
                f"the lock file of {flake} was changed meanwhile", next_step="run the update again"
            )
        found.lock = new
        found.version += 1

    def commit(self, flake: str, message: str) -> Committed:
        found = self._get(flake)
        if not found.git or found.lock == found.committed:
            return Committed("")
        found.committed = found.lock
        found.commits.append(message)
        return Committed(hashlib.sha256(message.encode() + found.lock).hexdigest()[:40])

    def stamp(self, flake: str) -> object:
        found = self.flakes.get(flake)
        return None if found is None else (found.version, tuple(found.declared.items()), found.lock)

    def _newest(self, url: str) -> str:
        if url in self.unreachable:
            raise HostUnavailable(f"{url} can't be reached", retry_after=60.0)
        revisions = self.sources.get(url)
        if not revisions:
            raise NotFound(f"there is nothing at {url}")
        return revisions[-1]

    def _get(self, flake: str) -> MemoryFlake:
        if flake not in self.flakes:
            raise NotFound(
                f"there is no flake in {flake}", next_step=f"make one: nix flake init (in {flake})"
            )
        return self.flakes[flake]

    @staticmethod
    def _declared(flake: MemoryFlake) -> Sequence[Input]:
        return [
            Input(name, follows=url.removeprefix("follows:"), line=number)
            if url.startswith("follows:")
            else Input(name, url=url, line=number)
            for number, (name, url) in enumerate(sorted(flake.declared.items()), 3)
        ]


def _node(url: str, revision: str, revisions: list[str]) -> dict[str, object]:
    date = FIRST_DATE + 86_400 * (revisions.index(revision) if revision in revisions else 0)
    original = {"type": "git", "url": url.removeprefix("git+")}
    digest = "sha256-" + "A" * 43 + "="
    return {
        "locked": {**original, "rev": revision, "lastModified": date, "narHash": digest},
        "original": original,
    }


class MemorySystem:
    """Generations whose store paths are names. Tests say by attributes what goes wrong."""

    def __init__(self) -> None:
        self.generations: dict[int, str] = {1: "/nix/store/00000000-first"}
        self.current = 1
        self.builds: list[str] = []
        self.switches: list[tuple[str, Switched]] = []
        self.reachable = True
        # Called at each step with its name: raise, or block, there.
        self.on: Callable[[str], None] = lambda step: None
        self.verdict: Switched | None = None
        self.failing_probes: list[Check] = []

    def build(self, reference: str, configuration: str, report: Report, cancel: threading.Event) -> str:
        self._answer("build")
        if cancel.is_set():
            raise Cancelled("the build was cancelled")
        report(Step("building", 50))
        if configuration == "nobody":
            raise NotFound(f"the flake has no nixosConfigurations.{configuration}")
        self.builds.append(reference)
        digest = hashlib.sha256(f"{reference}#{configuration}".encode()).hexdigest()[:8]
        return f"/nix/store/{digest}-nixos-system-{configuration}"

    def impact(self, toplevel: str, activation: bool, report: Report, cancel: threading.Event) -> Impact:
        self._answer("impact")
        lines = ("would restart the following units: web.service",) if activation else ()
        packages = (Package("linux", "6.12.1", "6.12.2", 4096),)
        return Impact(toplevel, packages, 2**30, 4096, True, ("the kernel changes",), lines)

    def probe(self, probes: Sequence[str], report: Report, cancel: threading.Event) -> Sequence[Check]:
        self._answer("probe")
        return self.failing_probes

    def generation(self) -> int:
        self._answer("generation")
        return self.current

    def toplevel(self, generation: int) -> str:
        self._answer("toplevel")
        if generation not in self.generations:
            raise NotFound(f"there is no generation {generation}")
        return self.generations[generation]

    def mark(self) -> str:
        self._answer("mark")
        return str(len(self.switches))

    def switch(self, toplevel: str, order: Order, report: Report, cancel: threading.Event) -> Switched:
        self._answer("switch")
        report(Step("switching", 10))
        if self.verdict is not None:
            self.switches.append((toplevel, self.verdict))
            self._answer("switched")
            return self.verdict
        number = max(self.generations) + 1
        self.generations[number] = toplevel
        self.current = number
        done = Switched(Outcome.CONFIRMED, number)
        self.switches.append((toplevel, done))
        self._answer("switched")
        return done

    def outcome(self, mark: str, toplevel: str) -> Switched:
        self._answer("outcome")
        for path, switched in self.switches[int(mark) :]:
            if path == toplevel:
                return switched
        return Switched(Outcome.UNKNOWN)

    def roll_back(self, generation: int, report: Report, cancel: threading.Event) -> int:
        self._answer("roll_back")
        self.switches.append((self.toplevel(generation), Switched(Outcome.CONFIRMED, generation)))
        self.current = generation
        self._answer("rolled_back")
        return generation

    def _answer(self, step: str) -> None:
        if not self.reachable:
            raise HostUnavailable("the system service does not answer")
        self.on(step)


class MemoryChannels:
    """Channels by name."""

    def __init__(self) -> None:
        self.channels: dict[str, ChannelState] = {}
        self.unreachable: set[str] = set()
        # What a server has now, by address; and what was here before each fetch.
        self.versions: dict[str, int] = {}
        self.before: list[dict[str, ChannelState]] = []

    def all(self) -> Mapping[str, ChannelState]:
        return dict(self.channels)

    def set(self, name: str, url: str) -> None:
        if url in self.unreachable:
            raise HostUnavailable(f"{url} can't be reached", retry_after=60.0)
        if url.startswith("ftp"):
            raise InvalidRequest(f"{url} can't be fetched")
        self.before.append(dict(self.channels))
        self.channels[name] = self._fetched(name, url)

    def remove(self, name: str) -> bool:
        return self.channels.pop(name, None) is not None

    def update(self, names: Sequence[str]) -> None:
        if missing := sorted(set(names) - self.channels.keys()):
            raise NotFound(f"there is no channel {missing[0]}")
        wanted = names or list(self.channels)
        if lost := [name for name in wanted if self.channels[name].url in self.unreachable]:
            raise HostUnavailable(f"{self.channels[lost[0]].url} can't be reached", retry_after=60.0)
        self.before.append(dict(self.channels))
        for name in wanted:
            self.channels[name] = self._fetched(name, self.channels[name].url)

    def roll_back(self) -> None:
        if not self.before:
            raise NotFound("the channels were fetched once at most")
        self.channels = self.before.pop()

    def _fetched(self, name: str, url: str) -> ChannelState:
        digest = hashlib.sha256(f"{url} {self.versions.get(url, 1)}".encode()).hexdigest()[:8]
        return ChannelState(name, url, f"/nix/store/{digest}-{name}/{name}")


class MemoryNotifier:
    """Remembers who was told what."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes]] = []

    def command(self, argv: Sequence[str], body: bytes) -> None:
        self.told.append((argv[0], body))

    def webhook(self, file: str, body: bytes) -> None:
        self.told.append((file, body))


class MemoryUpdaterDriver:
    """One host in memory."""

    name = "memory"

    def __init__(self) -> None:
        self.flakes = MemoryFlakes()
        self.system = MemorySystem()
        self.channels = MemoryChannels()
        self.notifier = MemoryNotifier()

    def error(self) -> str:
        return ""

    def close(self) -> None:
        """Nothing is open."""
