"""What people write for a quantity, folded to the integer that travels on the wire, and back.

| unit | accepted | folded to |
|---|---|---|
| bytes | `4096`, `"512MiB"`, `"1.5 GiB"`, `"10GB"`, `"10G"`, `"64Ki"` | bytes |
| milliseconds, seconds | `250`, `"250ms"`, `"2s"`, `"1h30m"`, `"1.5d"`, `"2w"` | the field's own unit |
| file mode | `"0644"`, `"4755"`, `"0o644"`: always quoted | permission bits |

Size suffixes: `K M G T P E` alone or with `B` count in powers of 1000, with `i` or `iB` in powers of 1024, as
in IEC 80000-13. Case does not matter, except that a small `b` after a prefix is refused: `Mb` and `Mib` mean
bits to many. A number without a suffix counts in the field's own unit. Nothing is rounded: `0.3s` is 300 ms,
but `0.0001s` is no whole number of milliseconds and is refused.
"""

from __future__ import annotations

import re
from fractions import Fraction

from nixcc.resource.v1 import options_pb2

INT64_MAX = 2**63 - 1
FILE_MODE_MAX = 0o7777

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_INTEGER = re.compile(r"[0-9]{1,30}")
_SIZE = re.compile(rf"({_NUMBER})[ ]?([kmgtpe]?)(i?)(b?)", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|us|ns|[smhdw]) ?)+", re.ASCII)
_PART = re.compile(rf"({_NUMBER})(ms|us|ns|[smhdw])", re.ASCII)
_MODE = re.compile(r"(?:0o)?([0-7]{3,5})")

_PREFIXES = "kmgtpe"
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
}
_LONGEST = 64  # characters of a quantity: more is never meant


def fold(unit: options_pb2.Unit.ValueType, value: object) -> int:
    """The integer for what a manifest says. ValueError says what would be right.

    `value` is what the YAML or JSON parser gave: a string, an integer, or a float where it is whole.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"expected {_expected(unit)}, not {_described(value)}")
    if unit == options_pb2.UNIT_FILE_MODE:
        return _fold_mode(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError(f"{value!r} is not a whole number: expected {_expected(unit)}")
        value = int(value)
    if isinstance(value, int):
        return _in_range(Fraction(value), str(value), unit)
    text = value.strip()
    if len(text) > _LONGEST:
        raise ValueError(f"{text[:20]!r}… is too long for a quantity: expected {_expected(unit)}")
    if text.startswith("-") and len(text) > 1:
        raise ValueError(f"{text!r} is negative: expected {_expected(unit)}")
    if _INTEGER.fullmatch(text):
        return _in_range(Fraction(int(text)), text, unit)
    if unit == options_pb2.UNIT_BYTES:
        return _in_range(_size(text), text, unit)
    if unit == options_pb2.UNIT_MILLISECONDS:
        return _in_range(_nanoseconds(text, unit) / 10**6, text, unit)
    if unit == options_pb2.UNIT_SECONDS:
        return _in_range(_nanoseconds(text, unit) / 10**9, text, unit)
    raise ValueError(f"{text!r} is not {_expected(unit)}")


def format_quantity(unit: options_pb2.Unit.ValueType, value: int) -> str:
    """A short exact text that `fold` reads back as `value`; negative numbers, which it refuses, unchanged."""
    if unit == options_pb2.UNIT_FILE_MODE:
        return f"{value:04o}" if 0 <= value <= FILE_MODE_MAX else str(value)
    if value < 0:
        return str(value)
    if unit == options_pb2.UNIT_BYTES:
        return _format_size(value)
    if unit == options_pb2.UNIT_MILLISECONDS:
        return _format_duration(value * 10**6)
    if unit == options_pb2.UNIT_SECONDS:
        return _format_duration(value * 10**9)
    return str(value)


def _size(text: str) -> Fraction:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: expected {_expected(options_pb2.UNIT_BYTES)}")
    number, prefix, binary, byte = match.groups()
    if byte == "b" and prefix:
        right = f"{number}{prefix.upper()}{binary.lower()}B"
        raise ValueError(f"{text!r} is ambiguous, a small b means bits to many: write {right!r}")
    if binary and not prefix:
        raise ValueError(f"{text!r} is not a size: expected {_expected(options_pb2.UNIT_BYTES)}")
    power = _PREFIXES.index(prefix.lower()) + 1 if prefix else 0
    scale: int = (1024 if binary else 1000) ** power
    return Fraction(number) * scale


def _nanoseconds(text: str, unit: options_pb2.Unit.ValueType) -> Fraction:
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration: expected {_expected(unit)}")
    total = Fraction(0)
    smallest: int | None = None
    for number, suffix in _PART.findall(text):
        scale = _NANOSECONDS[suffix]
        if smallest is not None and scale >= smallest:
            raise ValueError(f"{text!r} has its units out of order: write the largest first, such as '1h30m'")
        smallest = scale
        total += Fraction(number) * scale
    return total


def _fold_mode(value: str | int | float) -> int:
    if not isinstance(value, str):
        raise ValueError(
            f'file modes must be quoted: write "0644" with the quotes, since YAML 1.1 reads 0644 as 420 and '
            f"YAML 1.2 as 644 (here: {value!r})"
        )
    match = _MODE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value[:20]!r} is not {_expected(options_pb2.UNIT_FILE_MODE)}")
    mode = int(match.group(1), 8)
    if mode > FILE_MODE_MAX:
        raise ValueError(f'{value!r} has more than permission bits: the largest mode is "7777"')
    return mode


def _in_range(exact: Fraction, text: str, unit: options_pb2.Unit.ValueType) -> int:
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    if exact < 0:
        raise ValueError(f"{text} is negative: expected {_expected(unit)}")
    if exact.denominator != 1:
        raise ValueError(f"{text!r} is no whole number of {_NOUN.get(unit, 'units')}: nothing is rounded")
    if exact > INT64_MAX:
        raise ValueError(f"{text!r} is too large: at most {INT64_MAX} {_NOUN.get(unit, '')}".rstrip())
    return int(exact)


def _format_size(value: int) -> str:
    texts: list[str] = []
    for base, tail in ((1024, "iB"), (1000, "B")):
        for power in range(len(_PREFIXES), 0, -1):
            if value and value % base**power == 0:
                texts.append(f"{value // base**power}{_PREFIXES[power - 1].upper()}{tail}")
                break
    return min(texts, key=len, default=str(value))


def _format_duration(nanoseconds: int) -> str:
    parts: list[str] = []
    for suffix in ("d", "h", "m", "s", "ms"):
        count, nanoseconds = divmod(nanoseconds, _NANOSECONDS[suffix])
        if count:
            parts.append(f"{count}{suffix}")
    return "".join(parts) or "0s"


def _described(value: object) -> str:
    names = {bool: "a boolean", type(None): "nothing", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _expected(unit: options_pb2.Unit.ValueType) -> str:
    return _EXPECTED.get(unit, "a whole number, such as 3")


_EXPECTED: dict[int, str] = {
    options_pb2.UNIT_BYTES: 'a size, such as "512MiB", "1.5GiB", "10GB" or 4096',
    options_pb2.UNIT_MILLISECONDS: 'a duration, such as "250ms", "2s" or "1h30m"',
    options_pb2.UNIT_SECONDS: 'a duration, such as "90s", "5m" or "1d"',
    options_pb2.UNIT_FILE_MODE: 'a file mode in quoted octal digits, such as "0644"',
}
_NOUN: dict[int, str] = {
    options_pb2.UNIT_BYTES: "bytes",
    options_pb2.UNIT_MILLISECONDS: "milliseconds",
    options_pb2.UNIT_SECONDS: "seconds",
}
