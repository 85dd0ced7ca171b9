"""The nouns of manifests: nodes of the text, places in it, problems, documents."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from common import fieldpath

if TYPE_CHECKING:
    from nixcc.resource.v1 import resource_pb2


class Position(NamedTuple):
    """A place in a file; line and column count from 1, columns in characters."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(NamedTuple):
    """One thing that is wrong, and where."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ManifestError(Exception):
    """The manifests can't be used: every problem of every file, sorted by place."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = sorted(set(problems))

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class Scalar:
    """A text in the file; `plain`: without quotes, so that YAML may mean a number, a boolean or nothing by it."""

    __slots__ = ("mark", "plain", "text")

    def __init__(self, text: str, plain: bool, mark: Any) -> None:
        self.text = text
        self.plain = plain
        self.mark = mark


class Mapping:
    """Keys and values, in the file's order; `marks` has the places of the keys."""

    __slots__ = ("entries", "height", "mark", "marks", "plain_keys", "size")

    def __init__(self, mark: Any) -> None:
        self.mark = mark
        self.entries: dict[str, Node] = {}
        self.marks: dict[str, Any] = {}
        self.plain_keys: set[str] = set()
        self.size = 1
        self.height = 1


class Sequence:
    """A list."""

    __slots__ = ("height", "items", "mark", "size")

    def __init__(self, mark: Any) -> None:
        self.mark = mark
        self.items: list[Node] = []
        self.size = 1
        self.height = 1


Node = Scalar | Mapping | Sequence

_PART = re.compile(r"[.\[]")


@dataclass(frozen=True, slots=True)
class Document:
    """A resource and the text it was read from."""

    resource: resource_pb2.Resource
    file: str
    root: Mapping

    def position(self, field_path: str) -> Position:
        """Where `spec.disks[0].size`, `metadata.name` or `kind` stands, or else the nearest field around it."""
        here: Node = self.root
        mark = self.root.mark
        for step in _steps(field_path):
            if not isinstance(here, Mapping) or step.name not in here.entries:
                break
            mark, here = _place(here.marks[step.name], here.entries[step.name])
            if step.element is None:
                continue
            found = _element(here, step.element)
            if found is None:
                break
            mark, here = found
        return Position(self.file, mark.line + 1, mark.column + 1)


def _steps(path: str) -> tuple[fieldpath.Step, ...]:
    """The steps of a path, as far as it can be read."""
    while path:
        try:
            return fieldpath.parse(path)
        except ValueError:
            cuts = [match.start() for match in _PART.finditer(path)]
            path = path[: cuts[-1]] if cuts else ""
    return ()


def _place(key: Any, value: Node) -> tuple[Any, Node]:
    """A text's own place; of lists and mappings, which begin with their first element, that of the key."""
    return (value.mark if isinstance(value, Scalar) else key), value


def _element(node: Node, element: str) -> tuple[Any, Node] | None:
    if isinstance(node, Mapping):
        found = node.entries.get(element)
        return None if found is None else _place(node.marks[element], found)
    if not isinstance(node, Sequence):
        return None
    if element.isdecimal() and int(element) < len(node.items):
        chosen = node.items[int(element)]
        return chosen.mark, chosen
    for item in node.items:
        # An element of a keyed list is named by the value of one of its fields.
        if isinstance(item, Mapping) and any(
            isinstance(value, Scalar) and value.text == element for value in item.entries.values()
        ):
            return item.mark, item
    return None
