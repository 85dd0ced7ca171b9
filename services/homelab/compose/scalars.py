"""Values as compose writes them: sizes, durations, booleans, lists and maps in their several forms."""

from __future__ import annotations

import re
import shlex
from typing import Any

_SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,6})?)\s*(b|[kmgtp]i?b?|)\s*", re.IGNORECASE)
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)(us|µs|ns|ms|s|m|h|d|w))")
_UNITS = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,
    "ms": 1.0,
    "s": 1e3,
    "m": 6e4,
    "h": 3.6e6,
    "d": 8.64e7,
    "w": 6.048e8,
}


class Wrong(Exception):
    """What a value should have been."""


def string(value: Any) -> str:
    """A text, or a number or boolean as compose writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))  # 16.0 is written 16
    if isinstance(value, int | float | str):
        return str(value)
    raise Wrong("must be a text")


def boolean(value: Any) -> bool:
    """True or false, also as a text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off", "1", "0"):
        return value.lower() in ("true", "yes", "on", "1")
    raise Wrong("must be true or false")


def integer(value: Any) -> int:
    """A whole number, also as a text."""
    if isinstance(value, bool):
        raise Wrong("must be a number")
    if isinstance(value, int) and abs(value) < 2**62:
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value.strip()):
        return int(value)
    raise Wrong("must be a whole number")


def number(value: Any) -> float:
    """A number, also as a text."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12:
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?|\.[0-9]{1,9}", value.strip()):
        return float(value)
    raise Wrong("must be a number")


def size(value: Any) -> int:
    """Bytes: `512m`, `1.5gb`, 1024."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62:
        return value
    matched = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        raise Wrong("must be a size: 512m, 1g")
    found = int(float(matched[1]) * 1024 ** _POWERS[matched[2].lower()[:1]])
    if found >= 2**62:
        raise Wrong("is too large")
    return found


def milliseconds(value: Any) -> int:
    """A duration: `1m30s`, `500ms`."""
    word = string(value).strip()
    if word == "0":
        return 0
    parts = _DURATION.findall(word)
    if not parts or "".join(number + unit for number, unit in parts) != word:
        raise Wrong("must be a duration: 30s, 1m30s")
    found = int(sum(float(amount) * _UNITS[unit] for amount, unit in parts))
    if found > 2**32 - 1:
        raise Wrong("is too long")
    return found


def strings(value: Any) -> list[str]:
    """One or many."""
    if value is None:
        return []
    if isinstance(value, list):
        return [string(one) for one in value]
    return [string(value)]


def words(value: Any) -> list[str]:
    """A command: a list, or a text that is parted as a shell would."""
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise Wrong(f"can't be parted into words: {error}") from error
    return strings(value)


def pairs(value: Any, mark: str = "=") -> dict[str, str | None]:
    """A map, or a list of `NAME=value`; None: the name alone."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {name: None if one is None else string(one) for name, one in value.items()}
    found: dict[str, str | None] = {}
    for one in strings(value):
        name, there, rest = one.partition(mark)
        found[name] = rest if there else None
    return found


def mapping(value: Any) -> dict[str, Any]:
    """A map; nothing is an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise Wrong("must be a mapping")


def sequence(value: Any) -> list[Any]:
    """A list; nothing is an empty one."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise Wrong("must be a list")
