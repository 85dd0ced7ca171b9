"""What values an option's type takes, as far as JSON can say them. One frozen node a type; `text` is NixOS's own prose.

Numbers follow Nix: 1 is an integer and 1.0 a float, and neither passes for the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from common.json_text import JsonValue

_STORE_PATH = re.compile(r"/nix/store/[0-9a-z]{32}-[A-Za-z0-9+._?=-]+")
# What desired.json has in place of a package: `{"_package": "attribute.path"}`.
PACKAGE = "_package"
_LONGEST_MATCHED = 4096  # patterns are matched by backtracking


def is_set(value: JsonValue) -> TypeGuard[dict[str, JsonValue]]:
    """An attribute set, which the place of a package is not."""
    return isinstance(value, dict) and PACKAGE not in value


@dataclass(frozen=True)
class Type:
    """A type by its prose; as it is here, it takes anything."""

    text: str

    def takes(self, value: JsonValue) -> bool:
        """Whether the value itself is right; what lies within lists and sets is another question."""
        return True

    def parts(self) -> tuple[Type, ...]:
        """The types that it is made of."""
        return ()


@dataclass(frozen=True)
class Unknown(Type):
    """Prose that nobody taught us: takes anything."""


@dataclass(frozen=True)
class Unsayable(Type):
    """Functions and the like, which JSON has no words for."""

    def takes(self, value: JsonValue) -> bool:
        return False


@dataclass(frozen=True)
class Null(Type):
    """null."""

    def takes(self, value: JsonValue) -> bool:
        return value is None


@dataclass(frozen=True)
class Bool(Type):
    """true or false."""

    def takes(self, value: JsonValue) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True)
class Number(Type):
    """Integers, floats or both, between two bounds, both inclusive; None: none."""

    low: float | None = None
    high: float | None = None
    integers: bool = True
    floats: bool = False
    zero: bool = True

    def takes(self, value: JsonValue) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not (self.floats if isinstance(value, float) else self.integers):
            return False
        if value == 0 and not self.zero:
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Text(Type):
    """A string that the whole of which matches; None: any."""

    pattern: re.Pattern[str] | None = None

    def takes(self, value: JsonValue) -> bool:
        if not isinstance(value, str):
            return False
        return (
            self.pattern is None or len(value) > _LONGEST_MATCHED or self.pattern.fullmatch(value) is not None
        )


@dataclass(frozen=True)
class Location(Type):
    """An absolute path; `stored`: one in the Nix store, which is all that JSON can say of a package."""

    stored: bool = False

    def takes(self, value: JsonValue) -> bool:
        if not isinstance(value, str):
            return isinstance(value, dict) and PACKAGE in value
        return _STORE_PATH.match(value) is not None if self.stored else value.startswith("/")


@dataclass(frozen=True)
class OneOf(Type):
    """One of some values."""

    values: tuple[JsonValue, ...] = ()

    def takes(self, value: JsonValue) -> bool:
        return any(value == one and type(value) is type(one) for one in self.values)


@dataclass(frozen=True)
class List(Type):
    """A list of one type; `least` elements or more."""

    element: Type
    least: int = 0

    def takes(self, value: JsonValue) -> bool:
        return isinstance(value, list) and len(value) >= self.least

    def parts(self) -> tuple[Type, ...]:
        return (self.element,)


@dataclass(frozen=True)
class Tuple(Type):
    """A list with a type for each place."""

    elements: tuple[Type, ...]

    def takes(self, value: JsonValue) -> bool:
        return isinstance(value, list) and len(value) == len(self.elements)

    def parts(self) -> tuple[Type, ...]:
        return self.elements


@dataclass(frozen=True)
class Attrs(Type):
    """An attribute set of one type."""

    element: Type

    def takes(self, value: JsonValue) -> bool:
        return is_set(value)

    def parts(self) -> tuple[Type, ...]:
        return (self.element,)


@dataclass(frozen=True)
class Submodule(Type):
    """Options of its own, which the index has under the option's name."""

    def takes(self, value: JsonValue) -> bool:
        return is_set(value)


@dataclass(frozen=True)
class AnyOf(Type):
    """Several types; a value is of one of them."""

    choices: tuple[Type, ...]

    def takes(self, value: JsonValue) -> bool:
        return any(choice.takes(value) for choice in self.choices)

    def parts(self) -> tuple[Type, ...]:
        return self.choices


@dataclass(frozen=True)
class Data(Type):
    """What a format of data can say: anything of JSON; `nulls` where it has a null."""

    nulls: bool = True

    def takes(self, value: JsonValue) -> bool:
        return self.nulls or not _has_null(value)


def _has_null(value: JsonValue) -> bool:
    if isinstance(value, list):
        return any(map(_has_null, value))
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return value is None


def unknown_parts(one: Type) -> Iterator[str]:
    """The prose within a type that could not be read."""
    if isinstance(one, Unknown):
        yield one.text
    for part in one.parts():
        yield from unknown_parts(part)
