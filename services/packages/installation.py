"""Makes the profile hold what is wished: which element is whose, which revision has a version that is fine."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from common.errors import AlreadyExists, HostUnavailable, NotFound, WrongState
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers.base import ProfileDriver, Tell
from services.packages.drivers.record import Record
from services.packages.models import (
    Delta,
    Edit,
    Element,
    Entry,
    Installable,
    SeenVersion,
    Wish,
    plain_flake,
)
from services.packages.versions import Constraint

_NAME = re.compile(r"[^A-Za-z0-9._@:-]+")
# Builds at once; the service has twice as many threads.
_BUILDS = 4
# Seconds to wait for one of them to end.
_PATIENCE = 1.0
# Versions of a flake's package that the index has seen, the newest first.
Versions = Callable[[str, str], Sequence[SeenVersion]]


@dataclass(frozen=True, slots=True)
class Installed:
    """What the profile holds of one resource, declared or not."""

    name: str
    declared: bool
    elements: tuple[Element, ...]
    entry: Entry

    @property
    def element(self) -> Element:
        """The first one; all have the same source."""
        return self.elements[0]


class Installation:
    """The profile and the record of whose its elements are."""

    def __init__(
        self,
        driver: ProfileDriver,
        record: Record,
        versions: Versions,
        flake: str,
        in_generation: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`in_generation` tells the names of packages that the active generation contains."""
        self._in_generation = in_generation
        self.driver = driver
        self.record = record
        self._versions = versions
        self._flake = flake
        # Two changes at once would each be made on what the other is about to replace.
        self._change = threading.Lock()
        self._builds = threading.Semaphore(_BUILDS)

    def installed(self) -> dict[str, Installed]:
        """What the profile holds, by name; elements that nobody declared have the name they can be adopted by."""
        return assigned(self.driver.elements(), self.record.entries())

    def make_so(self, name: str, wish: Wish, tell: Tell, cancel: threading.Event) -> str:
        """Installs, replaces or just records it; what was done, empty: it was so already."""
        with self._room():
            with self._change:
                installed, entry = self.installed(), self.record.entries().get(name)
                mine = self._mine(name, wish, installed)
                if mine is not None and self._fits(wish, mine):
                    return self._recorded(name, wish, mine, entry)
            choice = self._choice(wish, entry)
            self.driver.prepare(choice, tell, cancel)
            with self._change:
                installed = self.installed()
                mine = self._mine(name, wish, installed)
                old = mine.elements if mine is not None else ()
                edit = Edit((*old, *self._left_over(installed)), (choice,))
                found = self.driver.edit(edit, tell, cancel, self._check(wish, old))
                fresh = _fresh(found, wish, choice)
                if not fresh:
                    raise WrongState(f"{wish.attribute} is not in the profile after it was installed")
                kept = Entry(wish, fresh[0].original_url, fresh[0].locked_url, _attr_paths(fresh))
                self.record.put(name, kept)
            version = fresh[0].version or "no version"
            return f"replaced by {version}" if old else f"installed {version}"

    def _recorded(self, name: str, wish: Wish, mine: Installed, entry: Entry | None) -> str:
        kept = Entry(wish, mine.element.original_url, mine.element.locked_url, _attr_paths(mine.elements))
        if entry == kept:
            return ""
        self.record.put(name, kept)
        return "recorded" if entry is not None else "taken over from the profile"

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Refuses more builds at once than leave threads for everything else of the service."""
        if not self._builds.acquire(timeout=_PATIENCE):
            raise HostUnavailable(f"{_BUILDS} packages are being installed already", retry_after=2.0)
        try:
            yield
        finally:
            self._builds.release()

    def remove(self, name: str, tell: Tell, cancel: threading.Event) -> bool:
        """Removes it from profile and record; False: it was in neither."""
        with self._change:
            mine = self.installed().get(name)
            known = name in self.record.entries()
            if mine is not None:
                self.driver.edit(Edit(mine.elements), tell, cancel, lambda elements: None)
            if known:
                self.record.put(name, None)
            return mine is not None or known

    def upgrade(self, names: Sequence[str], tell: Tell, cancel: threading.Event) -> list[Delta]:
        """Moves packages on to what their flakes have now, as one change; pinned ones only where named: refused."""
        with self._change:
            installed = self.installed()
            chosen = self._upgradable(names, installed)
            before = {name: one for name, one in installed.items() if name in chosen}
            remove = list(self._left_over(installed))
            add: list[Installable] = []
            for name in chosen:
                one = installed[name]
                wish = one.entry.wish
                choice = self._choice(wish, None)
                remove += one.elements
                add.append(choice)
                tell(Progress(message=f"{name}: looked at {choice.flake or self._flake}"))
            if not add:
                return []
            found = self.driver.edit(Edit(tuple(remove), tuple(add)), tell, cancel, lambda elements: None)
            deltas = []
            for name, choice in zip(chosen, add, strict=True):
                wish = installed[name].entry.wish
                fresh = _fresh(found, wish, choice)
                if fresh:
                    if installed[name].declared:
                        kept = Entry(wish, fresh[0].original_url, fresh[0].locked_url, _attr_paths(fresh))
                        self.record.put(name, kept)
                    old = before[name].element
                    if set(old.store_paths) != set(fresh[0].store_paths):
                        deltas.append(Delta(name, old.version or "?", fresh[0].version or "?"))
            return deltas

    def sweep(self, tell: Tell, cancel: threading.Event) -> None:
        """Takes out of the profile what the active generation has by now."""
        with self._change:
            left = self._left_over(self.installed())
            if left:
                self.driver.edit(Edit(left), tell, cancel, lambda elements: None)

    def _left_over(self, installed: Mapping[str, Installed]) -> tuple[Element, ...]:
        """What the profile held until the generation contained it."""
        waiting = [one for one in installed.values() if one.declared and one.entry.wish.system]
        contained = self._in_generation() if waiting else ()
        return tuple(element for one in waiting if one.name in contained for element in one.elements)

    def _upgradable(self, names: Sequence[str], installed: Mapping[str, Installed]) -> list[str]:
        for name in names:
            if name not in installed:
                raise NotFound(
                    f"the profile holds no package {name!r}", next_step="ncc package installed lists them"
                )
            if installed[name].entry.wish.pin:
                raise WrongState(f"{name} is pinned", next_step="set spec.pin to false first")
        return [
            name
            for name, one in installed.items()
            if (name in names if names else True)
            and not (one.entry.wish.pin or one.entry.wish.system)
            and one.element.attr_path
        ]

    def _mine(self, name: str, wish: Wish, installed: Mapping[str, Installed]) -> Installed | None:
        """What the resource has in the profile; else what nobody declared and is the same package."""
        if name in installed and installed[name].declared:
            return installed[name]
        flake = plain_flake(wish.flake or self._flake)
        for one in installed.values():
            same = one.entry.wish.attribute == wish.attribute and _source(one.element, flake)
            if same and one.declared:
                raise AlreadyExists(
                    f"Package {one.name} has {wish.attribute} of this flake in the profile already",
                    next_step=f"delete one of the two, or change it: ncc edit package {one.name}",
                )
            if same:
                return one
        return None

    def _fits(self, wish: Wish, mine: Installed) -> bool:
        entry, element = mine.entry, mine.element
        if mine.declared:
            if (plain_flake(entry.wish.flake), entry.wish.attribute) != (
                plain_flake(wish.flake),
                wish.attribute,
            ):
                return False
            if entry.wish.pin and wish.pin and element.locked_url != entry.locked_url:
                return False
            if len(mine.elements) < len(entry.attr_paths):
                return False
        return (
            outputs_of(mine.elements, wish.attribute) == tuple(sorted(wish.outputs))
            and (wish.priority is None or element.priority == wish.priority)
            and Constraint.parse(wish.version).allows(element.version)
        )

    def _choice(self, wish: Wish, entry: Entry | None) -> Installable:
        """From where to take it: the pinned revision, the flake as it is now, or an earlier one that fits."""
        now = Installable(wish.flake or self._flake, wish.attribute, wish.outputs, wish.priority)
        if wish.pin and entry is not None and entry.wish.pin and entry.locked_url:
            return replace(now, flake=entry.locked_url)
        if not wish.version:
            return now
        constraint = Constraint.parse(wish.version)
        current = self.driver.version_of(now)
        if constraint.allows(current):
            return now
        known = self._versions(now.flake, wish.attribute)
        for seen in known:
            if seen.locked_url and constraint.allows(seen.version):
                return replace(now, flake=seen.locked_url)
        others = ", ".join(dict.fromkeys([current or "none", *(seen.version for seen in known)]))
        raise WrongState(
            f"no version of {wish.attribute} is {wish.version}; there are: {others}",
            next_step="loosen spec.version, or name a flake revision that has it in spec.flake",
        )

    def _check(self, wish: Wish, old: Sequence[Element]) -> Callable[[Sequence[Element]], None]:
        constraint = Constraint.parse(wish.version)

        def check(elements: Sequence[Element]) -> None:
            for element in elements:
                mine = element.attribute == wish.attribute and element not in old
                if mine and not constraint.allows(element.version):
                    raise WrongState(f"the flake moved on to {element.version} meanwhile")

        return check


def assigned(elements: Sequence[Element], entries: Mapping[str, Entry]) -> dict[str, Installed]:
    """Elements by resource; each belongs to one."""
    found: dict[str, Installed] = {}
    rest = list(elements)
    for name, entry in entries.items():
        own = tuple(element for element in rest if entry.owns(element))
        if own:
            found[name] = Installed(name, True, own, entry)
            rest = [element for element in rest if element not in own]
    for element in rest:
        name = free = adopted_name(element)
        number = 2
        while free in found or free in entries:
            free, number = f"{name}-{number}", number + 1
        wish = Wish(
            attribute=element.attribute,
            flake=plain_flake(element.original_url),
            outputs=outputs_of([element], element.attribute),
            priority=element.priority,
        )
        entry = Entry(wish, element.original_url, element.locked_url, (element.attr_path,))
        found[free] = Installed(free, False, (element,), entry)
    return found


def adopted_name(element: Element) -> str:
    """The name of the resource that would declare it."""
    text = element.attribute.rpartition(".")[2] or element.pname
    return _NAME.sub("-", text).lstrip("._@:-")[:200] or "package"


def outputs_of(elements: Sequence[Element], attribute: str) -> tuple[str, ...]:
    """Outputs that were chosen, sorted: by the manifest since Nix 2.9, by the attribute path before."""
    found = {output for element in elements for output in element.outputs}
    start = f"{attribute}."
    found |= {e.attribute.removeprefix(start) for e in elements if e.attribute.startswith(start)}
    return tuple(sorted(found))


def _attr_paths(elements: Sequence[Element]) -> tuple[str, ...]:
    return tuple(sorted(element.attr_path for element in elements))


def _source(element: Element, flake: str) -> bool:
    """Whether it comes from the flake, at whatever revision."""
    return _base(element.original_url) == _base(flake)


def _base(url: str) -> str:
    return plain_flake(url).partition("?")[0].removeprefix("git+file://")


def _fresh(found: Sequence[Element], wish: Wish, choice: Installable) -> list[Element]:
    paths = {wish.attribute, *(f"{wish.attribute}.{output}" for output in wish.outputs)}
    source = plain_flake(choice.flake)
    matching = [element for element in found if element.attribute in paths]
    exact = [element for element in matching if _source(element, source)]
    # A flake named by a relative or registry name is written otherwise in the manifest.
    return exact or matching[-max(1, len(wish.outputs)) :]
