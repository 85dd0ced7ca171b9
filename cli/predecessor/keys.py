"""The keys of one configuration under the names of the newest version, and what became of each.

A section reads what it knows and says what it made of it; whatever nobody spoke of is reported as not supported, so
that nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from cli.predecessor.names import canonical
from cli.predecessor.report import Outcome, Row, row
from cli.predecessor.tree import Leaf, Odd, Path, dotted

T = TypeVar("T")

_SORTS = {str: "a text", bool: "true or false", int: "a whole number", list: "a list of texts"}


class Keys:
    """All leaves. Paths here are canonical: those of version 2, dotted or as tuples."""

    def __init__(self, found: Iterable[Leaf]) -> None:
        self._leaves: dict[Path, Leaf] = {}
        self._rows: dict[Path, Row] = {}
        self._lost: list[Row] = []
        self._wrong: set[Path] = set()
        for leaf in found:
            path = canonical(leaf.path)
            before = self._leaves.get(path)
            if before is not None:
                why = f"{dotted(leaf.path)} at {leaf.where or 'a later place'} says the same key, and wins"
                self._lost.append(row(before, Outcome.REFUSED, why=why))
            self._leaves[path] = leaf

    def get(self, path: str | Path, sort: type[T]) -> T | None:
        """The value, where it is of the sort; null and what is missing are None. A wrong sort is reported."""
        path = _path(path)
        leaf = self._leaves.get(path)
        if leaf is None:
            return None
        value: Any = leaf.value
        if value is None:
            self.took(path, "", "null: nothing was set")
            return None
        if sort is list and value == {}:
            value = []
        fits = isinstance(value, sort) and not (sort is int and isinstance(value, bool))
        if fits and sort is list:
            fits = all(isinstance(item, str) for item in value)
        if not fits:
            self.refused(path, f"must be {_SORTS[sort]}, and is {_what(value)}")
            self._wrong.add(path)
            return None
        # A path literal, too, is a plain text from here on.
        return str(value) if sort is str else value  # type: ignore[return-value]

    def has(self, path: str | Path) -> bool:
        """Whether the key is there."""
        return _path(path) in self._leaves

    def children(self, prefix: str | Path) -> list[str]:
        """Names right below, in order."""
        prefix = _path(prefix)
        size = len(prefix)
        return list(dict.fromkeys(p[size] for p in self._leaves if len(p) > size and p[:size] == prefix))

    def below(self, prefix: str | Path) -> list[Path]:
        """Paths of the leaves below, or the leaf itself."""
        prefix = _path(prefix)
        return [path for path in self._leaves if path[: len(prefix)] == prefix]

    def took(self, path: str | Path, into: str, why: str = "") -> None:
        """It means the same here."""
        self._say(path, Outcome.TAKEN, into, why)

    def changed(self, path: str | Path, into: str, why: str) -> None:
        """It means something a little different here."""
        self._say(path, Outcome.CHANGED, into, why)

    def refused(self, path: str | Path, why: str, text: str = "") -> None:
        """It can't be taken."""
        self._say(path, Outcome.REFUSED, "", why, text)

    def value(self, path: str | Path) -> Any:
        """Whatever stands there; None where nothing does."""
        leaf = self._leaves.get(_path(path))
        return None if leaf is None else leaf.value

    def open(self, prefix: str | Path) -> Iterator[Path]:
        """Leaves below that nobody has spoken of yet."""
        return (path for path in self.below(prefix) if path not in self._rows)

    def rows(self) -> list[Row]:
        """Every key, in the order of the configuration."""
        for path in list(self.open(())):
            leaf = self._leaves[path]
            if isinstance(leaf.value, Odd):
                why = f"a {leaf.value.sort} is no data: keep it in a NixOS module of your own"
            elif leaf.value == {} or leaf.value is None:
                self.took(path, "", "empty: nothing was set")
                continue
            else:
                why = "the control center does not know this key"
            self.refused(path, why)
        return [*self._lost, *(self._rows[path] for path in self._leaves)]

    def _say(self, path: str | Path, outcome: Outcome, into: str, why: str, text: str = "") -> None:
        path = _path(path)
        leaf = self._leaves.get(path)
        # What is of a wrong sort stays so, whatever a section says of the rest.
        if leaf is not None and path not in self._wrong:
            self._rows[path] = row(leaf, outcome, into=into, why=why, text=text)


def _path(path: str | Path) -> Path:
    return tuple(path.split(".")) if isinstance(path, str) else path


def _what(value: Any) -> str:
    if isinstance(value, Odd):
        return f"a {value.sort}"
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a set"}
    return names.get(type(value), "a text")
