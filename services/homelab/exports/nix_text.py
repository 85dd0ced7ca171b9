"""Values as text of the Nix language (https://nix.dev/manual/nix/stable/language/syntax). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*")
_KEYWORDS = frozenset({"assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"})
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def expression(value: Any, indent: str = "") -> str:
    """Of None, bools, numbers, strings, lists and mappings; nothing in a string is ever evaluated."""
    deeper = f"{indent}  "
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int | float):
        # In a list, -1 would be an operator.
        return f"({value})" if value < 0 else str(value)
    if isinstance(value, Mapping):
        if not value:
            return "{ }"
        rows = [f"{deeper}{_attribute(key)} = {expression(one, deeper)};\n" for key, one in value.items()]
        return f"{{\n{''.join(rows)}{indent}}}"
    if isinstance(value, Sequence):
        if not value:
            return "[ ]"
        rows = [f"{deeper}{expression(one, deeper)}\n" for one in value]
        return f"[\n{''.join(rows)}{indent}]"
    raise TypeError(f"{type(value).__name__} has no form in Nix")


def quoted(text: str) -> str:
    """A string's literal."""
    # Two $ before a brace are one that is meant and one that would begin an expression: each is escaped.
    return '"' + "".join(_ESCAPES.get(one, one) for one in text).replace("$", "\\$") + '"'


def _attribute(name: str) -> str:
    return name if _NAME.fullmatch(name) and name not in _KEYWORDS else quoted(name)
