"""Kubernetes' label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import InvalidRequest, Violation

_KEY = r"(?:[A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?"
_EQUALS = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*({_VALUE})\s*")
_SET = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*")
_EXISTS = re.compile(rf"\s*(!?)\s*({_KEY})\s*")
_EXAMPLE = "write it like a=b,c!=d,e in (f,g),h,!i"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term: the label must (not) have one of the values; without values it must (not) be there."""

    key: str
    values: frozenset[str] | None
    wanted: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy it. As in Kubernetes, `!=` and `notin` hold for an absent label."""
        if self.values is None:
            return (self.key in labels) is self.wanted
        return (labels.get(self.key) in self.values if self.key in labels else False) is self.wanted


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold."""

    requirements: tuple[Requirement, ...]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Reads a selector; raises InvalidRequest that shows where it goes wrong."""
        requirements: list[Requirement] = []
        position = 0
        while True:
            requirement, position = _term(text, position)
            requirements.append(requirement)
            if position == len(text):
                return cls(tuple(requirements))
            if text[position] != ",":
                raise _bad(text, position)
            position += 1

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy every requirement."""
        return all(requirement.holds(labels) for requirement in self.requirements)


def _term(text: str, position: int) -> tuple[Requirement, int]:
    if found := _SET.match(text, position):
        values = frozenset(value.strip() for value in found[3].split(","))
        if not all(re.fullmatch(_VALUE, value) for value in values):
            raise _bad(text, found.start(3))
        return Requirement(found[1], values, found[2] == "in"), found.end()
    if found := _EQUALS.match(text, position):
        return Requirement(found[1], frozenset([found[3]]), found[2] != "!="), found.end()
    if found := _EXISTS.match(text, position):
        return Requirement(found[2], None, not found[1]), found.end()
    raise _bad(text, position)


def _bad(text: str, position: int) -> InvalidRequest:
    rest = text[position : position + 40]
    where = f"at character {position + 1}: {rest!r}" if rest else "at its end"
    message = f"label selector can't be read {where}"
    return InvalidRequest(message, [Violation("label_selector", message)], next_step=_EXAMPLE)
