"""The predecessor's configuration as it was evaluated: leaves with their paths and places."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from common.errors import InvalidRequest

Path = tuple[str, ...]

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*|\[\d+\]")
# Nix itself stops near 10,000; no configuration is nested as deep as this.
_DEEPEST = 200


class NixPath(str):
    """A path literal."""

    __slots__ = ()


class Odd(NamedTuple):
    """A value that is no data."""

    # `function` or `derivation`.
    sort: str


class Leaf(NamedTuple):
    """A value that holds no further names: a scalar, a list of scalars, an empty set or something odd."""

    path: Path
    value: Any
    # `file:line`; empty: not known.
    where: str


def dotted(path: Sequence[str]) -> str:
    """The path as Nix writes it: names that are no identifiers in quotes."""
    parts = [part if _IDENTIFIER.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in path]
    return ".".join(parts).replace(".[", "[")


def leaves(tagged: Any, path: Path = (), where: str = "") -> Iterator[Leaf]:
    """The leaves of a value as ReadPredecessor sends it (`ConfigurationFile.value_json`).

    Raises InvalidRequest where it is nested too deep.
    """
    if len(path) > _DEEPEST:
        raise InvalidRequest(
            f"{where or dotted(path[:3])}: nested more than {_DEEPEST} deep",
            next_step="look for a set that contains itself",
        )
    sort: str = tagged[0]
    value: Any = tagged[1] if len(tagged) > 1 else None
    if sort == "set" and value:
        for name, place, inner in value:
            yield from leaves(inner, (*path, name), f"{place[0]}:{place[1]}" if place else where)
    elif sort == "list" and any(item[0] in ("set", "list", "lambda", "derivation") for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, f"[{index}]"), where)
    else:
        yield Leaf(path, _plain(sort, value), where)


def _plain(sort: str, value: Any) -> Any:
    if sort == "set":
        return {}
    if sort == "list":
        return [_plain(item[0], item[1]) for item in value]
    if sort == "path":
        return NixPath(value)
    if sort == "lambda":
        return Odd("function")
    if sort == "derivation":
        return Odd("derivation")
    return value
