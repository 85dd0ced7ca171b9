"""Versions as Nix understands them, and constraints on them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest

_COMPONENT = re.compile(r"[0-9]+|[^0-9.-]+")
_TERM = re.compile(r"(>=|<=|!=|==|=|>|<)?\s*([A-Za-z0-9][A-Za-z0-9._+-]*?)([.][*])?")
_STORE_NAME = re.compile(r"[0-9a-z]{32}-(.+)")


def parse_name(text: str) -> tuple[str, str]:
    """`hello-1.0` as (name, version): the version begins after the first dash that no letter follows."""
    for at, character in enumerate(text):
        if character == "-" and at + 1 < len(text) and not text[at + 1].isalpha():
            return text[:at], text[at + 1 :]
    return text, ""


def parse_store_path(path: str) -> tuple[str, str]:
    """Name and version of a store path."""
    base = path.rstrip("/").rpartition("/")[2]
    match = _STORE_NAME.fullmatch(base)
    return parse_name(match[1] if match else base)


def without_output(version: str, outputs: Iterable[str]) -> str:
    """`1.0` of `1.0-dev`, where `dev` is one of the outputs: store paths of outputs carry their names."""
    head, _, tail = version.rpartition("-")
    return (
        head if head and tail in {"bin", "dev", "doc", "info", "lib", "man", "static", *outputs} else version
    )


def compare(one: str, other: str) -> int:
    """-1, 0 or 1, as `builtins.compareVersions`."""
    for left, right in zip_longest(_COMPONENT.findall(one), _COMPONENT.findall(other), fillvalue=""):
        if _less(left, right):
            return -1
        if _less(right, left):
            return 1
    return 0


def _less(one: str, other: str) -> bool:
    if one.isdecimal() and other.isdecimal():
        return int(one) < int(other)
    if not one and other.isdecimal():
        return True
    if one == "pre" and other != "pre":
        return True
    if other == "pre":
        return False
    # Letters come before numbers.
    if other.isdecimal():
        return True
    if one.isdecimal():
        return False
    return one < other


_TESTS: dict[str, Callable[[int], bool]] = {
    ">=": lambda order: order >= 0,
    "<=": lambda order: order <= 0,
    "!=": lambda order: order != 0,
    "=": lambda order: order == 0,
    "==": lambda order: order == 0,
    ">": lambda order: order > 0,
    "<": lambda order: order < 0,
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """Comparisons that all must hold; none: any version is fine."""

    terms: tuple[tuple[str, str, bool], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Raises ValueError with a sentence for people."""
        terms = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = _TERM.fullmatch(part)
            if match is None:
                raise ValueError(f"{part!r} is no comparison; write such as >=2.12, <3 or 1.4.*")
            operator, version, wild = match[1] or "=", match[2], match[3] is not None
            if wild and operator not in ("=", "==", "!="):
                raise ValueError(f"{part!r}: only = and != go with .*")
            terms.append((operator, version, wild))
        return cls(tuple(terms))

    def allows(self, version: str) -> bool:
        """Whether the version is fine; a package without a version only where nothing is asked."""
        return all(self._holds(version, *term) for term in self.terms)

    @staticmethod
    def _holds(version: str, operator: str, wanted: str, wild: bool) -> bool:
        if not version:
            return False
        if wild:
            parts = _COMPONENT.findall(wanted)
            equal = _COMPONENT.findall(version)[: len(parts)] == parts
            return equal != (operator == "!=")
        return _TESTS[operator](compare(version, wanted))
