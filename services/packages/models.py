"""What the service speaks of: packages, elements of the profile, paths of the store. Frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from services.packages.versions import parse_store_path, without_output

_SET = re.compile(r"(?:legacyPackages|packages)\.[A-Za-z0-9_]+-[A-Za-z0-9_]+\.(.+)")


def plain_attribute(path: str) -> str:
    """`hello` for `legacyPackages.x86_64-linux.hello`."""
    match = _SET.fullmatch(path)
    return match[1] if match else path


def plain_flake(url: str) -> str:
    """A flake reference without what says the same: `nixpkgs` for `flake:nixpkgs`, a path without `path:`."""
    return url.removeprefix("flake:").removeprefix("path:") if url.startswith(("flake:", "path:/")) else url


@dataclass(frozen=True, slots=True)
class Element:
    """One entry of a profile's manifest."""

    # What `nix profile remove` calls it: an index, or since manifest version 3 a name.
    handle: str
    # Attribute path as the manifest says; empty: installed by store path.
    attr_path: str
    original_url: str
    locked_url: str
    store_paths: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    priority: int = 5
    active: bool = True

    @property
    def attribute(self) -> str:
        """Attribute path among the flake's packages."""
        return plain_attribute(self.attr_path)

    @property
    def pname(self) -> str:
        """Name without version, as the store path tells."""
        return parse_store_path(self.store_paths[0])[0] if self.store_paths else ""

    @property
    def version(self) -> str:
        """Version, as the store path tells."""
        if not self.store_paths:
            return ""
        tail = self.attr_path.rpartition(".")[2]
        return without_output(parse_store_path(self.store_paths[0])[1], (*self.outputs, tail))


@dataclass(frozen=True, slots=True)
class Wish:
    """What should be in the profile."""

    attribute: str
    # Empty: the flake that the service is set to.
    flake: str = ""
    version: str = ""
    outputs: tuple[str, ...] = ()
    priority: int | None = None
    pin: bool = False
    system: bool = False


@dataclass(frozen=True, slots=True)
class Installable:
    """A package of a flake, to be built into the profile."""

    flake: str
    attribute: str
    outputs: tuple[str, ...] = ()
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the profile that happens at once or not at all."""

    remove: tuple[Element, ...] = ()
    add: tuple[Installable, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """A flake at the revision that it has now."""

    flake: str
    original_url: str
    locked_url: str
    # Git's revision, else the hash of its contents.
    revision: str
    last_modified: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a profile."""

    number: int
    created: float
    current: bool
    path: str
    elements: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A package that came (no `before`), went (no `after`) or changed."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class StoreObject:
    """A valid path of the store."""

    path: str
    size: int
    references: tuple[str, ...] = ()


class RootState(StrEnum):
    """Why a root is kept."""

    PLAIN = "PLAIN"
    # Running, booted or previous system, or the profile: never given up here.
    KEPT = "KEPT"


@dataclass(frozen=True, slots=True)
class Root:
    """Something that keeps a store path."""

    link: str
    path: str
    state: RootState = RootState.PLAIN


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the store found."""

    checked: int
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CacheState:
    """How a binary cache is."""

    url: str
    error: str = ""
    store_dir: str = ""
    mass_query: bool = False
    priority: int = 0
    latency_ms: float = 0.0
    known_present: int = 0
    known_absent: int = 0
    public_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index of a flake's packages."""

    flake: str
    locked_url: str
    revision: str
    packages: int
    created: float
    size: int = 0


@dataclass(frozen=True, slots=True)
class PackageMeta:
    """A package as the index knows it."""

    attribute: str
    pname: str
    version: str = ""
    description: str = ""
    licenses: tuple[str, ...] = ()
    unfree: bool = False
    broken: bool = False
    insecure: bool = False
    platforms: tuple[str, ...] = ()
    homepage: str = ""
    main_program: str = ""
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenVersion:
    """A version, and the newest indexed revision that has it."""

    version: str
    revision: str
    locked_url: str
    created: float


@dataclass(frozen=True, slots=True)
class Entry:
    """What the record keeps of a resource: the wish as it was applied, and which elements came of it."""

    wish: Wish
    # All elements of a resource have the same source.
    original_url: str = ""
    locked_url: str = ""
    # One, or one an output.
    attr_paths: tuple[str, ...] = ()

    def owns(self, element: Element) -> bool:
        """Whether the element is the resource's."""
        return element.original_url == self.original_url and element.attr_path in self.attr_paths


@dataclass(frozen=True, slots=True)
class NixSettings:
    """Binary caches that Nix is set to use, and the keys that it trusts."""

    substituters: Sequence[str] = ()
    public_keys: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the active generation contains of our kinds: by kind and name the options."""

    options: Mapping[tuple[str, str], Mapping[str, object]] = field(default_factory=dict)
