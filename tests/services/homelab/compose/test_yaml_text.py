"""YAML as compose reads it, and bounded."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import InvalidRequest
from services.homelab.compose.yaml_text import Tagged, documents


def parse(text: str) -> tuple[Any, dict[str, int]]:
    (value,), lines = documents(text)
    return value, lines


def test_scalars_of_version_1_2() -> None:
    text = "{a: 22:22, b: yes, c: 0o17, d: 012, e: true, f: null, g: '1', h: 1.5, i: 2024-01-01, j: ~, k: on}"
    assert parse(text)[0] == {
        "a": "22:22",
        "b": "yes",
        "c": "0o17",
        "d": 10,
        "e": True,
        "f": None,
        "g": "1",
        "h": 1.5,
        "i": "2024-01-01",
        "j": None,
        "k": "on",
    }
    assert parse("[-3, 0x1F, 1_000, 022, -022, 0b101, +7, 0]")[0] == [-3, 31, 1000, 18, -18, 5, 7, 0]


def test_characters_as_json_escapes_them() -> None:
    assert parse(r'{"a": "\ud83d\ude00"}')[0] == {"a": "\U0001f600"}
    with pytest.raises(InvalidRequest, match=r"half of a character \(line 2\)"):
        parse('a: 1\nb: "\\ud83d"')


def test_anchors_and_merges_and_lines() -> None:
    text = "x: &x\n  a: 1\n  b: 2\nservices:\n  web:\n    <<: *x\n    b: 3\n    list:\n    - one\n    - two\n"
    value, lines = parse(text)
    assert value["services"]["web"] == {"a": 1, "b": 3, "list": ["one", "two"]}
    assert (lines["services.web"], lines["services.web.list[1]"]) == (5, 10)


def test_tags_of_merging() -> None:
    value, _ = parse("a: !reset null\nb: !override [1]")
    assert value == {"a": Tagged("!reset", None), "b": Tagged("!override", [1])}


BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is no YAML"),
        ("a: 1\na: 2", r"twice \(line 2\)"),
        ("? [a]\n: b", "key that is no text"),
        ("a: &a [*a]", "nested too deep|too many|no YAML"),
        (BOMB, "too many values"),
        ("[" * 2000, "no YAML|too deep"),
        ("a: *absent", "no YAML"),
        ("a: \x01", "control characters"),
        ("<<: 3", "merges"),
        ("a: " + "x" * (1024 * 1024), "larger"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        parse(text)
