"""Files with values of variables (`.env`), as compose reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.homelab.compose import interpolation

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*(?:=(.*))?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$$"}


class Wrong(Exception):
    """What is wrong, with the line."""


def parse(text: str, given: Mapping[str, str]) -> dict[str, str]:
    """Its variables; those that are given already can be used in values."""
    found: dict[str, str] = {}
    lines = text.removeprefix("\ufeff").splitlines()
    number = 0
    while number < len(lines):
        line, start = lines[number], number + 1
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise Wrong(f"line {start} is not of the form NAME=value")
        name, rest = matched[1], matched[2]
        if rest is None:
            if name in given:
                found[name] = given[name]
            continue
        rest = rest.strip()
        quote = rest[:1]
        if quote in ("'", '"'):
            # A quoted value may go over lines.
            while (end := _end(rest, quote)) < 0 and number < len(lines):
                rest += "\n" + lines[number]
                number += 1
            if end < 0:
                raise Wrong(f"line {start} has a quote without its end")
            inner = rest[1:end]
            value = inner if quote == "'" else _replaced(_unescaped(inner), {**found, **given}, start)
        else:
            value = _replaced(re.split(r"\s#", rest, maxsplit=1)[0].rstrip(), {**found, **given}, start)
        found[name] = value
    return found


def _end(text: str, quote: str) -> int:
    position = 1
    while position < len(text):
        if text[position] == "\\" and quote == '"':
            position += 2
            continue
        if text[position] == quote:
            return position
        position += 1
    return -1


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text, flags=re.DOTALL)


def _replaced(text: str, variables: Mapping[str, str], line: int) -> str:
    try:
        return interpolation.text(text, variables)
    except interpolation.Wrong as error:
        raise Wrong(f"line {line}: {error}") from error
