"""Nouns of the module registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.system.options.paths import Path


@dataclass(frozen=True)
class Option:
    """One option as NixOS documents it. `default` and `example` are Nix code or prose; empty: there is none."""

    loc: Path
    type: str
    default: str = ""
    example: str = ""
    description: str = ""
    declarations: tuple[str, ...] = ()
    read_only: bool = False


class Node(NamedTuple):
    """One step of the options' tree. `type` None: no option of its own, only options below it."""

    id: int
    name: str
    type: str | None
    has_children: bool
    read_only: bool = False


class Child(NamedTuple):
    """One entry when browsing: its name, its type where it is an option, and how many options lie below it."""

    name: str
    type: str | None
    below: int
    summary: str


class OptionTree(Protocol):
    """What validation asks of an index."""

    def root(self) -> Node:
        """Where all options lie below."""
        ...

    def child(self, node: int, name: str) -> Node | None:
        """The child of just that name."""
        ...

    def placeholder(self, node: int, *, element: bool) -> Node | None:
        """The child that stands for any name, or for any element of a list."""
        ...

    def names(self, node: int) -> Sequence[str]:
        """Names of all children."""
        ...


@dataclass(frozen=True)
class Wrong:
    """One thing that NixOS would not take. `path`: names, and places in lists; `expected`: the type's prose."""

    path: tuple[str | int, ...]
    description: str
    expected: str = ""


@dataclass(frozen=True)
class IndexInfo:
    """Where an index came from."""

    source: str
    origin: str  # manual, file or flake
    options: int
    digest: str
    built: float  # Unix time


@dataclass(frozen=True)
class Definition:
    """One place that sets an option, and the value there as JSON; empty: it can't be told."""

    file: str
    value_json: str


@dataclass(frozen=True)
class Current:
    """What the host's configuration makes of an option."""

    value_json: str
    is_defined: bool
    definitions: tuple[Definition, ...]
    why_unknown: str = ""
