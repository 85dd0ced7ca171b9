"""NixOS's prose for types, and which values they take."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.system.options import grammar
from services.system.options.types import unknown_parts

ACCEPTED: list[tuple[str, list[Any], list[Any]]] = [
    ("boolean", [True, False], [0, "true", None, [], {}]),
    ("string", ["", "a\nb"], [1, True, None, [], {}]),
    ("signed integer", [0, -5], [1.5, "1", True, None]),
    ("16 bit unsigned integer; between 0 and 65535 (both inclusive)", [0, 65535], [-1, 65536, 1.0, True]),
    ("positive integer, meaning >0", [1], [0, -1]),
    ("unsigned integer, meaning >=0", [0], [-1]),
    ("integer between 1 and 10 (both inclusive)", [1, 10], [0, 11]),
    ("floating point number", [1.5], ["x", True]),
    ("null or string", [None, "a"], [1, []]),
    ("list of string", [[], ["a"]], ["a", [1], [None], {}]),
    ("list of (null or signed integer)", [[1, None]], [["a"]]),
    ("attribute set of string", [{}, {"a": "b"}], [{"a": 1}, [], "a"]),
    ("attribute set of (list of signed integer)", [{"a": [1]}], [{"a": 1}]),
    ('one of "a", "b c", "d"', ["a", "b c"], ["e", "", 1, None]),
    ("path", ["/etc/x"], [1, "relative", None]),
    ("string or list of string", ["a", ["a"]], [1, [1]]),
    ("boolean or signed integer", [True, 3], ["3", None]),
    ('strings concatenated with "\\n"', ["a"], [1]),
    ("package", [{"_package": "hello"}], ["hello", 1]),
]


@pytest.mark.parametrize(("prose", "good", "bad"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_values_that_fit_and_that_do_not(prose: str, good: list[Any], bad: list[Any]) -> None:
    from services.system.options.models import Node
    from services.system.options.validation import validate

    class Tree:
        def root(self) -> Node:
            return Node(0, "", None, True)

        def child(self, node: int, name: str) -> Node | None:
            return Node(1, "o", prose, False) if name == "o" else None

        def placeholder(self, node: int, *, element: bool) -> Node | None:
            return None

        def names(self, node: int) -> list[str]:
            return ["o"]

    for value in good:
        assert not validate(Tree(), {"o": value}), value
    for value in bad:
        assert validate(Tree(), {"o": value}), value


@given(st.text(max_size=200))
def test_no_prose_is_too_strange(text: str) -> None:
    kind = grammar.parse(text)

    assert isinstance(kind.takes(None), bool)


def test_every_type_that_nixos_has_is_understood(whole: Any) -> None:
    rows = json.loads(Path(whole.info().source).read_text())
    types = {html.unescape(row["Type"]).replace("“", '"').replace("”", '"') for row in rows}
    not_understood = [text for text in types if list(unknown_parts(grammar.parse(text)))]

    assert len(types) > 900
    assert not_understood == []
