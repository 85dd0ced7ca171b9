"""Reads the prose in which NixOS's documentation names option types (nixpkgs, lib/types.nix, `description`).

`null or (list of string)`, `one of "a", "b"`, `16 bit unsigned integer; between 0 and 65535 (both inclusive)` … Of
`A or B` each part is a prefix chain (`list of attribute set of X`), a group in parentheses or one atom. What is not
understood becomes Unknown, which takes anything, and nothing around it is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from services.system.options.named import NAMED, posix_pattern
from services.system.options.types import (
    AnyOf,
    Attrs,
    Data,
    List,
    Null,
    Number,
    OneOf,
    Text,
    Tuple,
    Type,
    Unknown,
    Unsayable,
)

_MOST = 20_000  # characters of prose; the longest known one has 1,100
_DEEPEST = 40

_NUMBER = r"-?\d+(?:\.\d+)?"
_VALUE = rf"\"\"[^\"]*\"\"|\"(?:[^\"\\]|\\.)*\"|{_NUMBER}|true|false|null|<null>"
_END = r"(?=$| or |,|\)| convertible to it| \(with check)"
_BOUNDS = rf"between ({_NUMBER}) and ({_NUMBER}) \(both inclusive\)"

Built = Callable[[re.Match[str]], Type]


def _bounds(match: re.Match[str], **how: Any) -> Type:
    return Number(match.group(), _number(match.group(1)), _number(match.group(2)), **how)


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def _values(match: re.Match[str]) -> Type:
    found = [
        json.loads(text.replace("<null>", "null"), strict=False)
        if not text.startswith('"')
        else _unquoted(text)
        for text in re.findall(_VALUE, match.group())
    ]
    return OneOf(match.group(), tuple(found))


def _unquoted(text: str) -> str:
    text = text[1:-1] if text.startswith('""') and len(text) > 2 else text
    return re.sub(
        r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), text[1:-1], flags=re.DOTALL
    )


def _matching(match: re.Match[str]) -> Type:
    pattern = posix_pattern(match.group(1))
    return Text(match.group(), pattern) if pattern is not None else Text(match.group())


# Atoms with numbers, values or patterns in them, and those that have an `or` of their own.
_ATOMS: tuple[tuple[re.Pattern[str], Built], ...] = tuple(
    (re.compile(pattern), built)
    for pattern, built in (
        (rf"one of (?:{_VALUE})(?:, ?(?:{_VALUE}))*", _values),
        (rf"value (?:{_VALUE}) \(singular enum\)", _values),
        (r"impossible \(empty enum\)", lambda m: OneOf(m.group(), ())),
        (rf"(?:\d+ bit (?:un)?signed )?integer;? {_BOUNDS}", _bounds),
        (rf"integer or floating point number {_BOUNDS}", lambda m: _bounds(m, floats=True)),
        (r"(?:unsigned|nonnegative) integer, meaning >=0", lambda m: Number(m.group(), 0)),
        (r"positive integer, meaning >0", lambda m: Number(m.group(), 1)),
        (r"nonzero signed integer, meaning !=0", lambda m: Number(m.group(), zero=False)),
        (
            r"nonnegative integer or floating point number, meaning >=0",
            lambda m: Number(m.group(), 0, floats=True),
        ),
        (
            r"positive integer or floating point number, meaning >0",
            lambda m: Number(m.group(), 0, floats=True, zero=False),
        ),
        (r"strings? concatenated with \"(?:[^\"\\]|\\.)*\"", lambda m: Text(m.group())),
        (r"string matching the pattern (.+?)(?=$| or | convertible to it)", _matching),
    )
)
_PREFIXES: tuple[tuple[str, Callable[[str, Type], Type]], ...] = (
    ("list of ", List),
    ("attribute set of ", Attrs),
    ("lazy attribute set of ", Attrs),
    ("attribute set of attribute set of ", lambda text, inner: Attrs(text, Attrs(text, inner))),
    ("non-empty list of ", lambda text, inner: List(text, inner, 1)),
    ("pair of ", lambda text, inner: Tuple(text, (inner, inner))),
    ("function that evaluates to a(n) ", lambda text, inner: Unsayable(text)),
    ("function that evaluates to an ", lambda text, inner: Unsayable(text)),
    ("function that evaluates to a ", lambda text, inner: Unsayable(text)),
    ("open submodule of ", lambda text, inner: inner),
    ("non-empty ", lambda text, inner: List(text, inner.element, 1) if isinstance(inner, List) else inner),
)
# Formats that are described in a sentence instead of named: all that is known is that they are data.
_SENTENCE = re.compile(
    r"[^()\"]{0,80}\b(?:configuration(?: type)?[.,] |config type \(|values \(null, atoms"
    r"|value - either a string, )|an attribute set\. The "
)
_TUPLE = re.compile(r"tuple of (?=\()")
_CHECK = re.compile(r" \(with check: [^()]*\)")
_CHECKS = {
    "non-empty": re.compile(r"(?s).+"),
    "non-empty without trailing slash": re.compile(r"(?s).*[^/]"),
}


@lru_cache(maxsize=4096)
def parse(prose: str) -> Type:
    """The type; never fails. Typographic quotes and line breaks are folded first."""
    text = re.sub(r"\s+", " ", prose.replace("“", '"').replace("”", '"')).strip()
    if len(text) > _MOST:
        return Unknown(text)
    return _whole(text, 0)


def _whole(text: str, depth: int) -> Type:
    known = NAMED.get(text)
    if known is not None:
        return known(text)
    if _SENTENCE.match(text):
        return Data(text)
    if depth > _DEEPEST:
        return Unknown(text)
    choices: list[Type] = []
    rest = text
    while True:
        one, rest = _unit(rest, depth)
        choices.append(one)
        rest = rest.removeprefix(" convertible to it").removeprefix(",")
        if not rest:
            break
        if not rest.startswith(" or "):
            return Unknown(text)
        rest = rest.removeprefix(" or ")
    return choices[0] if len(choices) == 1 else AnyOf(text, tuple(choices))


def _unit(text: str, depth: int) -> tuple[Type, str]:
    """The first part of `A or B`, and what follows it."""
    one, rest = _bare(text, depth)
    while (check := _CHECK.match(rest)) is not None:
        rest = rest[check.end() :]
        pattern = _CHECKS.get(check.group()[len(" (with check: ") : -1])
        if isinstance(one, Text) and pattern is not None:
            one = Text(one.text + check.group(), pattern)
    return one, rest


def _bare(text: str, depth: int) -> tuple[Type, str]:
    if depth > _DEEPEST:
        return Unknown(text), ""
    for pattern, built in _ATOMS:
        match = pattern.match(text)
        if match is not None and re.match(_END, text[match.end() :]):
            return built(match), text[match.end() :]
    if text.startswith("null or ") or text == "null":
        return Null("null"), text[4:]
    name = _longest_name(text)
    if name:
        return NAMED[name](name), text[len(name) :]
    for prefix, built_of in _PREFIXES:
        if text.startswith(prefix):
            inner, rest = _unit(text[len(prefix) :], depth + 1)
            return built_of(text[: len(text) - len(rest)], inner), rest
    if _TUPLE.match(text):
        return _tuple(text, depth)
    if text.startswith("(") and (end := _closing(text)) > 0:
        return _whole(text[1:end], depth + 1), text[end + 1 :]
    end = _next_or(text)
    return Unknown(text[:end]), text[end:]


def _tuple(text: str, depth: int) -> tuple[Type, str]:
    rest, found = text[len("tuple of ") :], []
    while rest.startswith("(") and (end := _closing(rest)) > 0:
        found.append(_whole(rest[1:end], depth + 1))
        rest = rest[end + 1 :]
        if rest.startswith(" ("):
            rest = rest[1:]
    return Tuple(text[: len(text) - len(rest)], tuple(found)), rest


def _longest_name(text: str) -> str:
    """The longest named type that the text begins with, as whole words."""
    for end in sorted(
        {len(text), *(m.start() for m in re.finditer(r" or |,|\)| convertible| \(", text))}, reverse=True
    ):
        if text[:end] in NAMED:
            return text[:end]
    return ""


def _closing(text: str) -> int:
    """Where the parenthesis at the start is closed; -1: nowhere. Quoted ones don't count."""
    depth, quoted = 0, False
    for index, letter in enumerate(text):
        if letter == '"' and text[index - 1] != "\\":
            quoted = not quoted
        elif not quoted and letter in "()":
            depth += 1 if letter == "(" else -1
            if depth == 0:
                return index
    return -1


def _next_or(text: str) -> int:
    depth = 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth <= 0 and text.startswith(" or ", index):
            return index
    return len(text)
