"""What a manifest says, before anybody knows what it means: scalars, lists and mappings with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Union

from cli.manifest.problems import Position, SyntaxProblem

# Deeper than any spec; keeps the walkers' own recursion safe.
MAX_DEPTH = 100
# Nodes that aliases may add to a file by repetition.
MAX_ALIASED = 50_000

Node = Union["Scalar", "Sequence", "Mapping"]

# What YAML 1.1, YAML 1.2 or JSON read as something else than text (YAML 1.2.2, 10.3.2, and more).
_NUMBER = re.compile(
    r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
TRUE = frozenset({"true", "True", "TRUE"})
FALSE = frozenset({"false", "False", "FALSE"})


class Scalar:
    """One value as it is written; `plain`: without quotes, so that it may be a number, a boolean or null."""

    __slots__ = ("plain", "position", "text", "weight")

    def __init__(self, position: Position, text: str, plain: bool) -> None:
        self.position = position
        self.text = text
        self.plain = plain
        self.weight = 1

    @property
    def is_null(self) -> bool:
        """Nothing is given."""
        return self.plain and self.text in _NULL

    @property
    def what(self) -> str:
        """For messages: what it is."""
        if self.is_null:
            return "nothing"
        if self.plain and self.text in TRUE | FALSE:
            return f"the boolean {self.text}"
        if self.plain and is_number(self.text):
            return f"the number {shortened(self.text)}"
        return f"the text {shortened(self.text)!r}"


class Sequence:
    """A list."""

    __slots__ = ("items", "position", "weight")

    def __init__(self, position: Position) -> None:
        self.position = position
        self.items: list[Node] = []
        self.weight = 1

    is_null = False
    what = "a list"


class Mapping:
    """A mapping in the order it is written; keys are scalars, none of them twice."""

    __slots__ = ("entries", "position", "weight")

    def __init__(self, position: Position) -> None:
        self.position = position
        self.entries: dict[str, tuple[Scalar, Node]] = {}
        self.weight = 1

    is_null = False
    what = "a mapping"

    def get(self, name: str) -> Node | None:
        """The value of a key; None where it is missing or null."""
        entry = self.entries.get(name)
        return None if entry is None or entry[1].is_null else entry[1]

    def __iter__(self) -> Iterator[tuple[Scalar, Node]]:
        return iter(self.entries.values())


def is_number(text: str) -> bool:
    """Some reader of YAML or JSON takes the plain text for a number."""
    return _NUMBER.fullmatch(text) is not None


def is_typed(text: str) -> bool:
    """Some reader takes the plain text for a number, a boolean or null."""
    return text in _NULL or text in TRUE or text in FALSE or is_number(text)


def shortened(text: str, limit: int = 60) -> str:
    """The beginning of a long text."""
    return text if len(text) <= limit else f"{text[:limit]}…"


class Tree:
    """Builds a document out of a reader's events. Iterative: nesting is limited here, not by the stack."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.duplicates: list[tuple[Scalar, Position]] = []
        self.root: Node | None = None
        self._open: list[Sequence | Mapping] = []
        self._keys: list[Scalar | None] = []
        self._anchors: dict[str, Node] = {}
        self._aliased = 0

    def start_document(self) -> None:
        """Forgets the document before."""
        self.root = None
        self._open, self._keys, self._anchors = [], [], {}

    def scalar(self, position: Position, text: str, plain: bool, anchor: str | None = None) -> None:
        """A scalar: a key or a value."""
        node = Scalar(position, text, plain)
        if anchor:
            self._anchors[anchor] = node
        if self._open and isinstance(self._open[-1], Mapping) and self._keys[-1] is None:
            self._keys[-1] = node
        else:
            self._add(node, node.weight)

    def start(self, node: Sequence | Mapping, anchor: str | None = None) -> None:
        """A list or a mapping begins."""
        if len(self._open) >= MAX_DEPTH:
            raise SyntaxProblem(node.position, f"nested more than {MAX_DEPTH} deep")
        if self._open and isinstance(self._open[-1], Mapping) and self._keys[-1] is None:
            raise SyntaxProblem(node.position, f"{node.what} can't be a key: write a name")
        if anchor:
            self._anchors[anchor] = node
        self._add(node, 0)
        self._open.append(node)
        self._keys.append(None)

    def end(self) -> None:
        """The innermost list or mapping ends."""
        node = self._open.pop()
        self._keys.pop()
        if isinstance(node, Mapping):
            _merge(node)
        if self._open:
            self._open[-1].weight += node.weight

    def alias(self, position: Position, anchor: str) -> None:
        """A node that stood before is repeated."""
        node = self._anchors.get(anchor)
        if node is None:
            raise SyntaxProblem(position, f"*{shortened(anchor)} is not defined in this document")
        if any(node is parent for parent in self._open):
            raise SyntaxProblem(position, f"*{shortened(anchor)} contains itself")
        if self._open and isinstance(self._open[-1], Mapping) and self._keys[-1] is None:
            raise SyntaxProblem(position, "an alias can't be a key: write the name")
        self._aliased += node.weight
        if self._aliased > MAX_ALIASED:
            raise SyntaxProblem(
                position,
                f"aliases repeat more than {MAX_ALIASED} values in this file (an alias bomb?): write them out",
            )
        self._add(node, node.weight)

    def _add(self, node: Node, weight: int) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.weight += weight
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = self._keys[-1]
        assert key is not None  # checked by the callers
        self._keys[-1] = None
        first = parent.entries.get(key.text)
        if first is not None:
            self.duplicates.append((key, first[0].position))
            return
        parent.entries[key.text] = (key, node)


def _merge(node: Mapping) -> None:
    """YAML's merge key `<<`: fields of other mappings that this one does not have itself."""
    entry = node.entries.get("<<")
    if entry is None or not entry[0].plain:
        return
    sources = entry[1].items if isinstance(entry[1], Sequence) else [entry[1]]
    if not all(isinstance(source, Mapping) for source in sources):
        raise SyntaxProblem(entry[1].position, f"<< takes a mapping or a list of them, not {entry[1].what}")
    del node.entries["<<"]
    for source in sources:
        assert isinstance(source, Mapping)  # just checked
        for name, pair in source.entries.items():
            node.entries.setdefault(name, pair)
