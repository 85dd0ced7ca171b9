"""Folds any YAML or JSON value that is written into the canonical text of a field that holds JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from cli.manifest.nodes import FALSE, TRUE, Mapping, Node, Scalar, Sequence, is_number, shortened
from cli.manifest.problems import Position
from common import json_text

Wrong = Callable[[Position, str], None]

_YAML_1_1 = frozenset({"yes", "no", "on", "off", "y", "n"})
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NULLS = frozenset({"null", "Null", "NULL", "~"})


def fold(name: str, node: Node, wrong: Wrong) -> str | None:
    """Canonical JSON of a node; None where something in it can't be taken, each told to `wrong` with its place."""
    told: list[Position] = []

    def tell(position: Position, text: str) -> None:
        told.append(position)
        wrong(position, text)

    value = _value(name, node, tell)
    if told:
        return None
    try:
        return json_text.canonical(value)
    except ValueError as error:  # nested too deep with what is around it
        wrong(node.position, f"{name} {error}")
        return None


def _value(path: str, node: Node, wrong: Wrong) -> Any:
    if isinstance(node, Sequence):
        return [_value(f"{path}[{index}]", item, wrong) for index, item in enumerate(node.items)]
    if isinstance(node, Mapping):
        found: dict[str, Any] = {}
        for key, item in node:
            if "\0" in key.text:
                wrong(key.position, f"{path} has a key with NUL (U+0000)")
            found[key.text] = _value(f"{path}.{shortened(key.text)}", item, wrong)
        return found
    try:
        return _scalar(node)
    except ValueError as error:
        wrong(node.position, f"{path} {error}")
        return None


def _scalar(node: Scalar) -> Any:
    text = node.text
    if "\0" in text:
        raise ValueError("contains NUL (U+0000), which can't be carried")
    if not node.plain:
        return text
    if text in _NULLS:
        return None
    if not text:
        raise ValueError('has no value: write null, {}, [] or "" if that is meant')
    if text in TRUE or text in FALSE:
        return text in TRUE
    if text.lower() in _YAML_1_1:
        raise ValueError(
            f'takes true or false, or "{text}" with quotes: YAML 1.1 and 1.2 read {text} differently'
        )
    return _number(text) if is_number(text) else text


def _number(text: str) -> int | float:
    shown = shortened(text)
    if _INTEGER.fullmatch(text):
        # Digits beyond this can't be 64 bits, and are not worth converting.
        value = int(text) if len(text) <= 21 else json_text.INT64_MAX + 1
        if not json_text.INT64_MIN <= value <= json_text.INT64_MAX:
            raise ValueError(f"takes integers of 64 bits, not {shown}")
        return value
    if not _FLOAT.fullmatch(text):
        raise ValueError(
            f'takes decimal numbers, not {shown}: write "{shown}" with quotes if a text is meant'
        )
    real = float(text)
    if not math.isfinite(real):
        raise ValueError(f"takes numbers that a double holds, not {shown}")
    return real
