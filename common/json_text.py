"""JSON values as text: read strictly, written canonically (sorted keys, no spaces), in the limits of JSON in Nix.

Refused, since readers take them differently or Nix not at all: duplicate keys, integers beyond 64 bits, numbers that no
double holds, NaN and Infinity, NUL, lone surrogates, nesting deeper than MAX_DEPTH.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

JsonValue = None | bool | int | float | str | list[Any] | dict[str, Any]

MAX_DEPTH = 100
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(text: str) -> JsonValue:
    """The value of a JSON text. ValueError says what is wrong and, within a value, where: `a.b[3]`."""
    try:
        value: JsonValue = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant
        )
    except RecursionError:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error}") from error
    check(value)
    return value


def canonical(value: JsonValue) -> str:
    """The one text of a value. ValueError as for `parse`."""
    check(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def check(value: JsonValue) -> None:
    """ValueError where a value can't be carried."""
    _check(value, "", 0)


def same(one: str, other: str) -> bool:
    """Whether two texts mean one value; texts that can't be read are compared as they are."""
    if one == other:
        return True
    try:
        return canonical(parse(one)) == canonical(parse(other))
    except ValueError:
        return False


def _check(value: Any, path: str, depth: int) -> None:
    if value is None or value is True or value is False:
        return
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, int):
        if not INT64_MIN <= value <= INT64_MAX:
            raise ValueError(_at(path, "an integer beyond 64 bits can't be carried"))
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(_at(path, "a number too large for any double can't be carried"))
    elif depth >= MAX_DEPTH:
        raise ValueError(_at("", f"is nested more than {MAX_DEPTH} deep"))
    elif isinstance(value, list):
        for index, element in enumerate(value):
            _check(element, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, element in value.items():
            if not isinstance(key, str):
                raise ValueError(_at(path, f"{key!r} is no text, so it can't be a key"))
            _check_text(key, path)
            _check(element, f"{path}.{key}" if path else key, depth + 1)
    else:
        raise ValueError(_at(path, f"{type(value).__name__} is no JSON value"))


def _check_text(text: str, path: str) -> None:
    if "\0" in text:
        raise ValueError(_at(path, "NUL (U+0000) can't be carried"))
    if _SURROGATE.search(text):
        raise ValueError(_at(path, "half of a surrogate pair is no character"))


def _at(path: str, text: str) -> str:
    shown = path if len(path) <= 200 else f"{path[:200]}…"
    return f"{shown}: {text}" if shown else text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} stands twice in one object")
            seen.add(key)
    return value


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("an integer beyond 64 bits can't be carried")
    return int(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
