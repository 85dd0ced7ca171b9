"""Reads JSON with the place of every value, which the standard library forgets; duplicate keys are kept to be told."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator

from cli.manifest.nodes import Mapping, Node, Sequence, Tree
from cli.manifest.problems import Position, SyntaxProblem

_TOKEN = re.compile(
    r"[ \t\r\n]*(?:(?P<mark>[\[\]{}:,])|(?P<text>\"[^\"\\\x00-\x1f]*(?:\\.[^\"\\\x00-\x1f]*)*\")"
    r"|(?P<word>true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)(?![A-Za-z0-9_.+-]))"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_END = re.compile(r"[ \t\r\n]*\Z")


def is_json(text: str) -> bool:
    """The whole text is JSON (one document, a list or an object)."""
    if not text.lstrip(" \t\r\n").startswith(("{", "[")):
        return False
    try:
        json.loads(text, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return True


class _Text:
    """A text and where its lines begin."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self._starts = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]

    def position(self, offset: int) -> Position:
        line = bisect_right(self._starts, offset)
        return Position(self.file, line, offset - self._starts[line - 1] + 1)


def read_json(text: str, tree: Tree) -> Iterator[Node]:
    """The documents of a text, one after the other; SyntaxProblem where it can't be read on."""
    source = _Text(text, tree.file)
    offset = 0
    while not _END.match(text, offset):
        tree.start_document()
        offset = _document(source, offset, tree)
        if tree.root is not None:
            yield tree.root


def _document(source: _Text, offset: int, tree: Tree) -> int:
    """Reads one value from `offset` on; gives where it ends."""
    closers: list[str] = []
    # What may come next: v a value, k a key, e the end of an empty one, c a comma, `:` a colon.
    expected = "v"
    while True:
        match = _TOKEN.match(source.text, offset)
        if match is None:
            raise _stray(source, offset, expected)
        offset = match.end()
        mark, text, word = match.group("mark", "text", "word")
        start = source.position(match.start(match.lastgroup or 0))
        if (mark is None and "v" in expected) or (text is not None and "k" in expected):
            tree.scalar(start, word if text is None else _unquoted(text, start), text is None)
            expected = ":" if "k" in expected else "c"
        elif mark in ("{", "[") and "v" in expected:
            tree.start((Mapping if mark == "{" else Sequence)(start))
            closers.append("}" if mark == "{" else "]")
            expected = "ke" if mark == "{" else "ve"
        elif mark in ("}", "]") and ("e" in expected or "c" in expected) and closers and closers[-1] == mark:
            tree.end()
            closers.pop()
            expected = "c"
        elif mark == "," and expected == "c" and closers:
            expected = "k" if closers[-1] == "}" else "v"
        elif mark == ":" and expected == ":":
            expected = "v"
        else:
            raise _stray(source, match.start(match.lastgroup or 0), expected)
        if not closers and expected == "c":
            return offset


def _unquoted(text: str, position: Position) -> str:
    try:
        value: str = json.loads(text)
    except ValueError as error:
        raise SyntaxProblem(position, f"is no JSON string: {error}") from error
    if _SURROGATE.search(value):
        raise SyntaxProblem(position, "has half of a surrogate pair, which is no character")
    return value


def _stray(source: _Text, offset: int, expected: str) -> SyntaxProblem:
    while offset < len(source.text) and source.text[offset] in " \t\r\n":
        offset += 1
    wanted = {"v": "a value", "k": 'a key in "quotes"', "ke": 'a key in "quotes" or }', "ve": "a value or ]"}
    text = wanted.get(expected, "a comma or the end" if expected == "c" else "a colon")
    found = repr(source.text[offset]) if offset < len(source.text) else "the end of the file"
    return SyntaxProblem(source.position(offset), f"is no JSON: expected {text}, found {found}")
