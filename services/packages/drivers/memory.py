"""A host in memory: profile, store, caches and flakes. For trying things out, and for tests."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.errors import HostUnavailable, NotFound, WrongState
from common.manager import Emit
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers import index_build
from services.packages.drivers.base import Tell
from services.packages.models import (
    CacheState,
    Edit,
    Element,
    Generation,
    Installable,
    Lock,
    NixSettings,
    Root,
    RootState,
    StoreObject,
    Verified,
)

_STORE = "/nix/store"
_PROFILE = "/nix/var/nix/profiles/nixcc/profile"


@dataclass(frozen=True, slots=True)
class MemoryPackage:
    """A package of a flake. `error`: evaluating it fails so."""

    pname: str
    version: str
    description: str = ""
    outputs: tuple[str, ...] = ("out",)
    needs: tuple[str, ...] = ()
    size: int = 1_000
    unfree: bool = False
    error: str = ""
    # Files that it holds; by default a program of its name.
    files: tuple[str, ...] = ()


@dataclass
class MemoryFlake:
    """A flake that moves on: `revisions` holds all its states, the newest last."""

    revisions: list[Mapping[str, MemoryPackage]] = field(default_factory=list)

    def publish(self, packages: Mapping[str, MemoryPackage]) -> None:
        """A new revision with these packages."""
        self.revisions.append(dict(packages))


class MemoryHost:
    """All drivers in one."""

    name = "memory"

    def __init__(self) -> None:
        self.flakes: dict[str, MemoryFlake] = {}
        self.objects: dict[str, StoreObject] = {}
        self.damaged: set[str] = set()
        self.cache_infos: dict[str, CacheState] = {}
        self.nix_settings = NixSettings()
        self._files: dict[str, tuple[str, ...]] = {}
        self._generations: list[Generation] = []
        self._emit: Emit | None = None
        self._lock = threading.RLock()

    @classmethod
    def sample(cls, flake: str) -> MemoryHost:
        """One with a few packages to try things out with."""
        host = cls()
        host.flakes[flake] = MemoryFlake()
        host.flakes[flake].publish(
            {
                "libgreet": MemoryPackage("libgreet", "0.3", "Greets", size=5_000),
                "hello": MemoryPackage("hello", "2.12", "A program that greets", needs=("libgreet",)),
                "jq": MemoryPackage(
                    "jq", "1.7.1", "Command-line JSON processor", outputs=("bin", "dev", "out")
                ),
            }
        )
        return host

    # The profile.

    def unsupported(self) -> str:
        """See ProfileDriver."""
        return ""

    def path(self) -> str:
        """See ProfileDriver."""
        return _PROFILE

    def elements(self) -> Sequence[Element]:
        """See ProfileDriver."""
        with self._lock:
            return next((g.elements for g in self._generations if g.current), ())

    def lock(self, flake: str) -> Lock:
        """See ProfileDriver and CatalogDriver."""
        base, number = self._revision(flake)
        return Lock(flake, flake, f"{base}?rev={number}", str(number), number)

    def version_of(self, package: Installable) -> str:
        """See ProfileDriver."""
        return self._evaluated(package).version

    def prepare(self, package: Installable, tell: Tell, cancel: threading.Event) -> None:
        """See ProfileDriver."""
        self._evaluated(package)

    def edit(
        self, edit: Edit, tell: Tell, cancel: threading.Event, check: Callable[[Sequence[Element]], None]
    ) -> Sequence[Element]:
        """See ProfileDriver."""
        with self._lock:
            elements = [element for element in self.elements() if element not in edit.remove]
            for package in edit.add:
                tell(Progress(message=f"installing {package.flake}#{package.attribute}"))
                elements.append(self._installed(package))
            self._collide(elements)
            elements = [replace(element, handle=str(at)) for at, element in enumerate(elements)]
            check(elements)
            if elements != list(self.elements()):
                self._advance(elements)
            return elements

    def generations(self) -> Sequence[Generation]:
        """See ProfileDriver."""
        with self._lock:
            return list(self._generations)

    def switch(self, number: int) -> None:
        """See ProfileDriver."""
        with self._lock:
            if all(generation.number != number for generation in self._generations):
                raise NotFound(f"the profile has no generation {number}")
            self._generations = [replace(g, current=g.number == number) for g in self._generations]
        self._changed()

    def delete_generations(self, numbers: Sequence[int]) -> None:
        """See ProfileDriver."""
        with self._lock:
            if any(g.current and g.number in numbers for g in self._generations):
                raise WrongState("the current generation can't be deleted")
            self._generations = [g for g in self._generations if g.number not in numbers]

    def watch(self, emit: Emit) -> None:
        """See ProfileDriver."""
        self._emit = emit

    def close(self) -> None:
        """See ProfileDriver."""
        self._emit = None

    # The store.

    def store_dir(self) -> str:
        """See StoreDriver."""
        return _STORE

    def resolve(self, link: str) -> str:
        """See StoreDriver."""
        with self._lock:
            if link == _PROFILE:
                link = next((g.path for g in self._generations if g.current), link)
            if link not in self.objects:
                raise NotFound(f"{link} is not in the Nix store {_STORE}")
            return link

    def closure(self, paths: Sequence[str]) -> Mapping[str, StoreObject]:
        """See StoreDriver."""
        found: dict[str, StoreObject] = {}
        todo = [self.resolve(path) for path in paths]
        while todo:
            path = todo.pop()
            if path not in found:
                found[path] = self.objects[path]
                todo += self.objects[path].references
        return found

    def referrers(self, path: str, *, indirect: bool) -> Sequence[StoreObject]:
        """See StoreDriver."""
        if not indirect:
            return [row for row in self.objects.values() if path in row.references and row.path != path]
        return [row for row in self.objects.values() if row.path != path and path in self.closure([row.path])]

    def roots(self) -> Sequence[Root]:
        """See StoreDriver."""
        return [
            Root(f"{_PROFILE}-{g.number}-link", g.path, RootState.KEPT if g.current else RootState.PLAIN)
            for g in self.generations()
        ]

    def dead(self) -> Mapping[str, int]:
        """See StoreDriver."""
        kept = self.closure([root.path for root in self.roots()])
        return {path: row.size for path, row in self.objects.items() if path not in kept}

    def collect(self, max_bytes: int, tell: Tell, cancel: threading.Event) -> Mapping[str, int]:
        """See StoreDriver."""
        gone: dict[str, int] = {}
        for path, size in self.dead().items():
            if max_bytes and sum(gone.values()) >= max_bytes:
                break
            gone[path] = size
            del self.objects[path]
            tell(Progress(message=f"deleting {path}"))
        return gone

    def verify(self, *, repair: bool, tell: Tell, cancel: threading.Event) -> Verified:
        """See StoreDriver."""
        damaged = tuple(sorted(self.damaged))
        if repair:
            self.damaged.clear()
            return Verified(len(self.objects), repaired=damaged)
        return Verified(len(self.objects), damaged)

    def optimise(self, tell: Tell, cancel: threading.Event) -> tuple[int, int]:
        """See StoreDriver: nothing is there twice."""
        return 0, 0

    # Caches.

    def settings(self) -> NixSettings:
        """See CacheDriver."""
        return self.nix_settings

    def states(self, urls: Iterable[str]) -> Sequence[CacheState]:
        """See CacheDriver."""
        return [self.cache_infos.get(url, CacheState(url, error="does not answer")) for url in urls]

    # The catalog.

    def build(
        self, lock: Lock, source: str, target: str, before: str, tell: Tell, cancel: threading.Event
    ) -> None:
        """See CatalogDriver."""
        facts = {
            "flake": lock.flake,
            "locked_url": lock.locked_url,
            "revision": lock.revision,
            "created": time.time(),
        }
        with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as folder:
            listing = Path(source) if source else Path(folder, "packages.json")
            if not source:
                base, number = self._revision(lock.flake)
                packages = self.flakes[base].revisions[number - 1]
                listing.write_text(json.dumps({name: _listed(row) for name, row in packages.items()}))
            index_build.build(listing, Path(target), Path(before) if before else None, facts)

    def _revision(self, flake: str) -> tuple[str, int]:
        """The flake's name and the number of the revision that is meant, from 1."""
        base, _, rev = flake.partition("?rev=")
        if base not in self.flakes:
            if base.startswith(("http", "github:")):
                raise HostUnavailable(f"the network does not answer: {base}", retry_after=30)
            raise NotFound(f"cannot find flake {base!r}", next_step="correct spec.flake")
        return base, int(rev) if rev else len(self.flakes[base].revisions)

    def _evaluated(self, package: Installable) -> MemoryPackage:
        base, number = self._revision(package.flake)
        found = self.flakes[base].revisions[number - 1].get(package.attribute)
        if found is None:
            raise NotFound(f"flake {package.flake!r} does not provide attribute {package.attribute!r}")
        if found.error:
            raise WrongState(found.error)
        return found

    def _installed(self, package: Installable) -> Element:
        found = self._evaluated(package)
        base, number = self._revision(package.flake)
        wanted = package.outputs or found.outputs[:1]
        missing = set(wanted) - set(found.outputs)
        if missing:
            raise NotFound(f"{package.attribute} has no output {min(missing)!r}")
        return Element(
            handle="",
            attr_path=f"packages.x86_64-linux.{package.attribute}",
            original_url=package.flake,
            locked_url=f"{base}?rev={number}",
            store_paths=tuple(sorted(self._realised(base, number, found, output) for output in wanted)),
            outputs=package.outputs,
            priority=5 if package.priority is None else package.priority,
        )

    def _realised(self, base: str, number: int, package: MemoryPackage, output: str) -> str:
        needs = []
        for need in package.needs:
            needed = self.flakes[base].revisions[number - 1][need]
            needs.append(self._realised(base, number, needed, "out"))
        suffix = "" if output == "out" else f"-{output}"
        path = self._add(f"{package.pname}-{package.version}{suffix}", package.size, tuple(needs))
        self._files[path] = package.files or (f"bin/{package.pname}{suffix}",)
        return path

    def _add(self, name: str, size: int, references: tuple[str, ...]) -> str:
        digest = hashlib.sha256(f"{name} {references}".encode()).hexdigest()[:32]
        path = f"{_STORE}/{digest}-{name}"
        self.objects[path] = StoreObject(path, size, tuple(sorted(references)))
        return path

    def _collide(self, elements: Sequence[Element]) -> None:
        holders: dict[tuple[str, int], str] = {}
        for element in elements:
            for path in element.store_paths:
                for file in self._files[path]:
                    other = holders.setdefault((file, element.priority), path)
                    if other != path:
                        raise WrongState(
                            f"{other}/{file} and {path}/{file} are the same file of two packages with equal "
                            f"priority ({element.priority})"
                        )

    def _advance(self, elements: Sequence[Element]) -> None:
        paths = tuple(path for element in elements for path in element.store_paths)
        path = self._add("profile", 500, paths)
        number = max((g.number for g in self._generations), default=0) + 1
        old = [replace(g, current=False) for g in self._generations]
        self._generations = [*old, Generation(number, time.time(), True, path, tuple(elements))]
        self._changed()

    def _changed(self) -> None:
        if self._emit is not None:
            self._emit(())


def _listed(package: MemoryPackage) -> Mapping[str, object]:
    return {
        "name": f"{package.pname}-{package.version}",
        "pname": package.pname,
        "version": package.version,
        "system": "x86_64-linux",
        "outputs": dict.fromkeys(package.outputs),
        "meta": {
            "description": package.description,
            "license": {"spdxId": "MIT", "free": not package.unfree},
            "platforms": ["x86_64-linux"],
        },
    }
