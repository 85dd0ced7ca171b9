"""Files with values of variables (`.env`), as compose reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.homelab.compose import interpolation

# A colon does for the equals sign.
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z0-9_][A-Za-z0-9_.\[\]-]*)\s*(?:[=:](.*))?", re.DOTALL)
_ESCAPE = re.compile(r"\\(0[0-7]{1,3}|[abcfnrtv$\"\\])")
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    '"': '"',
    "\\": "\\",
    "$": "$$",
}


class Wrong(Exception):
    """What is wrong, with the line."""


def parse(text: str, given: Mapping[str, str], *, secret: bool = False) -> dict[str, str]:
    """Its variables; those that are given already can be used in values.

    `secret`: what Wrong says holds nothing of the values.
    """
    found: dict[str, str] = {}
    lines = text.removeprefix("\ufeff").splitlines()
    number = 0
    while number < len(lines):
        line, start = lines[number], number + 1
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        matched = _LINE.fullmatch(line)
        if matched is None or "\0" in line or (secret and matched[2] is None):
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
            value = (
                inner.replace("\\'", "'")
                if quote == "'"
                else _replaced(_unescaped(inner), {**found, **given}, start, secret)
            )
        else:
            value = re.split(r"\s#", rest, maxsplit=1)[0].rstrip()
            value = _replaced(value, {**found, **given}, start, secret)
        found[name] = value
    return found


def _end(text: str, quote: str) -> int:
    position = 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == quote:
            return position
        position += 1
    return -1


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        word = found[1]
        return chr(int(word, 8)) if word.startswith("0") else _ESCAPES.get(word, found[0])

    return _ESCAPE.sub(one, text)


def _replaced(text: str, variables: Mapping[str, str], line: int, secret: bool) -> str:
    try:
        return interpolation.text(text, variables)
    except interpolation.Wrong as error:
        if secret:  # What looks like a variable may be part of a password.
            said = "uses a variable that no line before it sets; a $ that means itself is in single quotes"
            raise Wrong(f"line {line} {said}") from None
        raise Wrong(f"line {line}: {error}") from error
