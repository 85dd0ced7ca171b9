"""Dotted paths into a spec: `disks[0].size`, `interfaces[lan].model`, `labels["a]b"]`, `disks[*].path`.

An element is a list's index, a keyed list's key or a map's key. Elements that would be ambiguous are
written as JSON strings; `*` stands for every element.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r'[^\[\]"*\s\x00-\x1f\x7f](?:[^\[\]"\x00-\x1f\x7f]*[^\[\]"\s\x00-\x1f\x7f])?')
_DECODER = json.JSONDecoder()


class Step(NamedTuple):
    """One field of a path and, after it in brackets, the element chosen from it."""

    name: str
    element: str | None = None
    every: bool = False

    def __str__(self) -> str:
        if self.every:
            return f"{self.name}[*]"
        return self.name if self.element is None else at(self.name, self.element)


def at(path: str, element: str | int) -> str:
    """`path[element]`, with the element quoted where it has to be."""
    text = str(element)
    return f"{path}[{text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)}]"


def join(path: str, name: str) -> str:
    """`path.name`; just `name` at the root."""
    return f"{path}.{name}" if path else name


def dotted(steps: tuple[Step, ...]) -> str:
    """The text of a parsed path."""
    return ".".join(map(str, steps))


def parse(text: str) -> tuple[Step, ...]:
    """Steps of a path. ValueError says where it can't be read."""
    steps: list[Step] = []
    position = 0
    while True:
        match = _NAME.match(text, position)
        if match is None:
            raise ValueError(f"field path {text!r}: a field name is missing at character {position + 1}")
        name, position = match.group(), match.end()
        step = Step(name)
        if text.startswith("[", position):
            step, position = _element(text, name, position + 1)
        steps.append(step)
        if position == len(text):
            return tuple(steps)
        if text[position] != ".":
            raise ValueError(f"field path {text!r}: expected '.' or '[' at character {position + 1}")
        position += 1


def _element(text: str, name: str, start: int) -> tuple[Step, int]:
    if text.startswith('"', start):
        try:
            element, end = _DECODER.raw_decode(text, start)
        except ValueError as error:
            raise ValueError(f"field path {text!r}: the quoted element of {name} does not end") from error
    else:
        end = text.find("]", start)
        element = text[start : end if end >= 0 else len(text)]
        if element == "*":
            return Step(name, every=True), _closed(text, name, end)
        if not _PLAIN.fullmatch(element):
            raise ValueError(f"field path {text!r}: write the element of {name} as a quoted JSON string")
    return Step(name, element), _closed(text, name, end)


def _closed(text: str, name: str, end: int) -> int:
    if end < 0 or not text.startswith("]", end):
        raise ValueError(f"field path {text!r}: ']' is missing after the element of {name}")
    return end + 1
