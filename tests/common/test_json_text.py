"""JSON texts: what is read, what is refused, and the one text of each value."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import json_text

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(json_text.INT64_MIN, json_text.INT64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_every_value_comes_back_from_its_text(value: Any) -> None:
    text = json_text.canonical(value)
    again = json_text.parse(text)
    assert again == value
    assert json_text.canonical(again) == text
    assert json_text.same(json.dumps(value, indent=1), text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ('{"a":1}}', "is no JSON"),
        ('{"a":1,"a":1}', "the key 'a' stands twice"),
        ('{"a":{"b":[1,9223372036854775808]}}', "a.b[1]: an integer beyond 64 bits"),
        ("-9223372036854775809", "an integer beyond 64 bits"),
        ("1" * 5000, "an integer beyond 64 bits"),
        ('{"a":1e400}', "a: a number too large"),
        ("NaN", "NaN is no JSON number"),
        ("-Infinity", "-Infinity is no JSON number"),
        ('["a\\u0000"]', "[0]: NUL"),
        ('{"a\\u0000":1}', "NUL"),
        ('"\\ud800"', "half of a surrogate pair"),
        ("[" * 101 + "]" * 101, "is nested more than 100 deep"),
        ("[" * 100_000 + "]" * 100_000, "is nested more than 100 deep"),
    ],
)
def test_what_nix_could_not_carry_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(why)):
        json_text.parse(text)


def test_limits_are_inside() -> None:
    assert json_text.parse("9223372036854775807") == json_text.INT64_MAX
    assert json_text.parse("[" * 100 + "]" * 100) is not None
    assert json_text.parse('"\\ud83d\\ude00"') == "😀"


def test_sorted_keys_and_no_spaces() -> None:
    assert json_text.canonical({"b": [1, 1.0, None], "a": "é"}) == '{"a":"é","b":[1,1.0,null]}'
    assert not json_text.same("1", "1.0")  # Nix tells them apart
    assert json_text.same('{"a": 1, "b": 2}', '{"b":2,"a":1}')
    assert not json_text.same("{", "{}")
    assert json_text.same("{", "{")


def test_values_that_are_no_json_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a\[0\]: bytes is no JSON value"):
        json_text.canonical({"a": [b"x"]})  # type: ignore[list-item]
    with pytest.raises(ValueError, match="1 is no text, so it can't be a key"):
        json_text.canonical({1: 2})  # type: ignore[dict-item]
