"""The domain rpcs' rules: models in, models out. Blocking; the rpcs call it in the service's executor."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from common.errors import InvalidRequest, NotFound, Violation, WrongState
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers.base import CacheDriver, StoreDriver, Tell
from services.packages.drivers.index import PackageIndexes
from services.packages.installation import Installation, Installed
from services.packages.models import (
    CacheState,
    Delta,
    Element,
    Generation,
    IndexInfo,
    PackageMeta,
    Root,
    SeenVersion,
    StoreObject,
    Verified,
)
from services.packages.versions import parse_store_path

_MOST_RESULTS, _RESULTS = 1_000, 50
_LONGEST_QUERY = 1_000
_DAY = 86_400.0
# As of Package.flake.
_FLAKE = re.compile(r"[^#\s\"'^-][^#\s\"'^]{0,1023}")


@dataclass(frozen=True, slots=True)
class Closure:
    """Paths and all that they need, the largest first."""

    objects: tuple[StoreObject, ...]
    # Bytes of each with all that it needs, in the same order.
    sizes: tuple[int, ...]
    roots: tuple[str, ...]

    @property
    def total(self) -> int:
        """Bytes of all."""
        return sum(row.size for row in self.objects)


@dataclass(frozen=True, slots=True)
class Collected:
    """What was, or would be, freed."""

    roots: tuple[Root, ...]
    paths: Mapping[str, int]
    generations: tuple[int, ...]


class PackagesService:
    """Packages as they are, and what may be done to them that is no change of a spec."""

    def __init__(
        self,
        installation: Installation,
        store: StoreDriver,
        caches: CacheDriver,
        indexes: PackageIndexes,
        flake: str,
        system: str = "/run/current-system",
    ) -> None:
        self._installation = installation
        self._profile = installation.driver
        self._store = store
        self._caches = caches
        self._indexes = indexes
        self._flake = flake
        self._system = system

    def search(
        self, flake: str, query: str, limit: int, usable_only: bool, platform: str
    ) -> tuple[Sequence[PackageMeta], IndexInfo, bool]:
        """The best matches first, the index, and whether there are more."""
        if not 0 <= limit <= _MOST_RESULTS:
            raise InvalidRequest("limit", [Violation("limit", f"must be from 0 to {_MOST_RESULTS}")])
        if len(query) > _LONGEST_QUERY:
            raise InvalidRequest("query", [Violation("query", f"has more than {_LONGEST_QUERY} characters")])
        flake = self._named(flake)
        info = self._indexes.info(flake)
        limit = limit or _RESULTS
        found = self._indexes.search(
            flake, query, limit=limit + 1, usable_only=usable_only, platform=platform
        )
        return found[:limit], info, len(found) > limit

    def package(self, flake: str, attribute: str) -> tuple[PackageMeta, IndexInfo, Sequence[Installed]]:
        """What the index knows, and where the profile holds it."""
        flake = self._named(flake)
        meta = self._indexes.package(flake, attribute)
        installed = [
            one
            for one in self._installation.installed().values()
            if one.entry.wish.attribute == meta.attribute
        ]
        return meta, self._indexes.info(flake), installed

    def installed(self) -> tuple[Sequence[Installed], str]:
        """What the profile holds, by name, and where it is."""
        return list(self._installation.installed().values()), self._profile.path()

    def refresh(
        self, flake: str, source: str, force: bool, tell: Tell, cancel: threading.Event
    ) -> tuple[IndexInfo, bool]:
        """Makes the index anew where the flake has moved on."""
        if source and not source.startswith("/"):
            raise InvalidRequest("file", [Violation("file", "must be an absolute path")])
        return self._indexes.refresh(
            self._named(flake), source, force=force, now=time.time(), tell=tell, cancel=cancel
        )

    def indexes(self) -> Sequence[IndexInfo]:
        """All indexes."""
        return self._indexes.infos()

    def versions(self, flake: str, attribute: str) -> Sequence[SeenVersion]:
        """Versions that the index has seen; NotFound for a package that it never saw."""
        flake = self._named(flake)
        found = self._indexes.versions(flake, attribute)
        if not found:
            self._indexes.package(flake, attribute)
        return found

    def closure(self, target: str) -> Closure:
        """What it needs, with sizes."""
        roots = self.paths_of(target)
        found = self._store.closure(roots)
        sizes = closure_sizes(found)
        ordered = sorted(found.values(), key=lambda row: (-row.size, row.path))
        return Closure(tuple(ordered), tuple(sizes[row.path] for row in ordered), tuple(roots))

    def dependants(self, target: str, indirect: bool) -> tuple[Sequence[StoreObject], Sequence[str]]:
        """Store paths that need it, and installed packages among them."""
        own = self.paths_of(target)
        found: dict[str, StoreObject] = {}
        for path in own:
            found.update({row.path: row for row in self._store.referrers(path, indirect=indirect)})
        for path in own:
            found.pop(path, None)
        names = [
            name
            for name, one in self._installation.installed().items()
            if any(path in found for element in one.elements for path in element.store_paths)
        ]
        return sorted(found.values(), key=lambda row: (parse_store_path(row.path), row.path)), sorted(names)

    def why(self, target: str, dependency: str) -> Sequence[Sequence[str]]:
        """The shortest way to each path of that name; none where it is not needed."""
        roots = self.paths_of(target)
        found = self._store.closure(roots)
        if dependency.startswith("/"):
            wanted = {self._store.resolve(dependency)}
        else:
            wanted = {
                p for p in found if dependency in (parse_store_path(p)[0], "-".join(parse_store_path(p)))
            }
        return shortest_ways(found, roots, wanted)

    def history(self) -> Sequence[tuple[Generation, Sequence[Delta]]]:
        """Generations of the profile with what changed, the newest first."""
        before: Sequence[Element] = ()
        rows = []
        for generation in self._profile.generations():
            rows.append((generation, deltas(before, generation.elements)))
            before = generation.elements
        return rows[::-1]

    def rollback(self, number: int) -> tuple[Generation, Sequence[Delta]]:
        """Goes to a generation; 0: to the one before the current."""
        generations = self._profile.generations()
        if number == 0:
            current = next((g.number for g in generations if g.current), 0)
            earlier = [g.number for g in generations if g.number < current]
            if not earlier:
                raise WrongState("the profile has no earlier generation", next_step="ncc package history")
            number = earlier[-1]
        self._profile.switch(number)
        return next(row for row in self.history() if row[0].current)

    def upgrade(
        self, names: Sequence[str], tell: Tell, cancel: threading.Event
    ) -> tuple[Sequence[Delta], int]:
        """What changed, and the profile's generation."""
        changed = self._installation.upgrade(names, tell, cancel)
        return changed, next((g.number for g in self._profile.generations() if g.current), 0)

    def collect(
        self, dry_run: bool, days: int | None, max_bytes: int, tell: Tell, cancel: threading.Event
    ) -> Collected:
        """Frees what nothing keeps, after giving up old generations of the profile where asked."""
        if days is not None and days < 0:
            raise InvalidRequest("days", [Violation("older_than_days", "must not be negative")])
        old = self._old_generations(days)
        numbers = tuple(generation.number for generation in old)
        tell(Progress(message="looking for what nothing keeps"))
        roots = self._store.roots()
        if dry_run:
            dead = dict(self._store.dead())
            dead.update(self._only_kept_by(old, roots))
            return Collected(tuple(roots), dead, numbers)
        self._installation.sweep(tell, cancel)
        self._profile.delete_generations(numbers)
        return Collected(tuple(roots), self._store.collect(max_bytes, tell, cancel), numbers)

    def verify(self, repair: bool, tell: Tell, cancel: threading.Event) -> Verified:
        """Checks every path of the store."""
        return self._store.verify(repair=repair, tell=tell, cancel=cancel)

    def optimise(self, tell: Tell, cancel: threading.Event) -> tuple[int, int]:
        """Files that became one with another, and bytes freed."""
        return self._store.optimise(tell, cancel)

    def caches(self, urls: Sequence[str]) -> Sequence[CacheState]:
        """How they are; without urls those that Nix is set to use."""
        return self._caches.states(urls or self._caches.settings().substituters)

    def paths_of(self, target: str) -> list[str]:
        """Store paths behind what people write."""
        if not target:
            raise InvalidRequest("which?", [Violation("target", "must be given")])
        if target.startswith("/"):
            return [self._store.resolve(target)]
        if target == "profile":
            return [self._store.resolve(self._profile.path())]
        if target == "system":
            return [self._store.resolve(self._system)]
        installed = self._installation.installed()
        for one in installed.values():
            if target in (one.name, one.entry.wish.attribute):
                return [path for element in one.elements for path in element.store_paths]
        raise NotFound(
            f"the profile holds no package {target!r}",
            next_step="ncc package installed lists them; a store path, `system` and `profile` are fine, too",
        )

    def _named(self, flake: str) -> str:
        """The flake, or the one that we are set to; nothing that Nix would take for an option."""
        if not flake:
            return self._flake
        if not _FLAKE.fullmatch(flake):
            raise InvalidRequest(
                f"{flake[:80]!r} is no flake reference",
                [Violation("flake", "such as nixpkgs, github:NixOS/nixpkgs or /etc/nixos")],
            )
        return flake

    def _old_generations(self, days: int | None) -> list[Generation]:
        """Those that may go: never the current one and the one before it."""
        if days is None:
            return []
        generations = self._profile.generations()
        current = next((at for at, g in enumerate(generations) if g.current), len(generations) - 1)
        kept = {generations[at].number for at in (current, current - 1) if 0 <= at < len(generations)}
        limit = time.time() - days * _DAY
        return [g for g in generations if g.number not in kept and g.created <= limit]

    def _only_kept_by(self, old: Sequence[Generation], roots: Sequence[Root]) -> Mapping[str, int]:
        """What would go once these generations are given up."""
        links = {f"{self._profile.path()}-{generation.number}-link" for generation in old}
        going = self._store.closure([root.path for root in roots if root.link in links])
        rest = [root.path for root in roots if root.link not in links and root.path not in going]
        kept = self._store.closure([*rest, *(root.path for root in roots if root.link not in links)])
        return {path: row.size for path, row in going.items() if path not in kept}


def closure_sizes(objects: Mapping[str, StoreObject]) -> dict[str, int]:
    """Bytes of each path with all that it needs; a whole system's thousands of paths in a fraction of a second."""
    ordered = list(_needs_first(objects))
    # What each needs as a set of bits, and for each byte of bits the sizes that its values stand for.
    masks: dict[str, int] = {}
    for at, path in enumerate(ordered):
        mask = 1 << at
        for other in objects[path].references:
            mask |= masks.get(other, 0)
        masks[path] = mask
    tables = []
    for start in range(0, len(ordered), 8):
        table = [0]
        for path in ordered[start : start + 8]:
            table += [size + objects[path].size for size in table]
        tables.append(table)
    return {
        path: sum(
            table[bits] for table, bits in zip(tables, mask.to_bytes(len(tables), "little"), strict=True)
        )
        for path, mask in masks.items()
    }


def _needs_first(objects: Mapping[str, StoreObject]) -> Iterator[str]:
    """All paths, each after those that it needs."""
    state: dict[str, bool] = {}  # False: begun; True: told
    for start in objects:
        todo = [start]
        while todo:
            path = todo[-1]
            if state.get(path):
                todo.pop()
                continue
            fresh = [other for other in objects[path].references if other in objects and other not in state]
            state.setdefault(path, False)
            if fresh:
                todo += fresh
            else:
                todo.pop()
                state[path] = True
                yield path


def shortest_ways(
    objects: Mapping[str, StoreObject], roots: Sequence[str], wanted: set[str]
) -> list[list[str]]:
    """The shortest way from a root to each wanted path."""
    came: dict[str, str] = dict.fromkeys(roots, "")
    todo = deque(roots)
    while todo:
        path = todo.popleft()
        for other in objects[path].references if path in objects else ():
            if other not in came:
                came[other] = path
                todo.append(other)
    ways = []
    for path in sorted(wanted & came.keys()):
        way = [path]
        while came[way[-1]]:
            way.append(came[way[-1]])
        ways.append(way[::-1])
    return ways


def deltas(before: Sequence[Element], after: Sequence[Element]) -> list[Delta]:
    """Packages that came, went or changed."""

    def named(elements: Sequence[Element]) -> dict[str, Element]:
        return {element.attribute or element.pname: element for element in elements}

    old, new = named(before), named(after)
    found = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name), new.get(name)
        if one is not None and other is not None and one.store_paths == other.store_paths:
            continue
        found.append(
            Delta(name, (one.version or "?") if one else "", (other.version or "?") if other else "")
        )
    return found
