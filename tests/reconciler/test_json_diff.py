"""JSON texts compared, alone and within a spec."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.fieldpath import parse
from reconciler import pathset
from reconciler.diff import diff, equal
from reconciler.json_diff import changes
from spec_types import box, classes, sample_file

JSONS = classes(sample_file(json=True), extension_known=True)


def told(want: Any, have: Any, *ignored: str) -> dict[str, tuple[Any, Any]]:
    found = changes(
        json.dumps(want),
        json.dumps(have),
        "o",
        pathset.field_below(pathset.tree(ignored), "o") if ignored else None,
    )
    assert found is not None
    for path, _, _ in found:
        parse(path)  # every path can be read as one
    return {path: (_read(mine), _read(theirs)) for path, mine, theirs in found}


def _read(text: str) -> Any:
    return json.loads(text) if text else "-"


@pytest.mark.parametrize(
    ("want", "have", "expected"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, {"o.a.c": (2, 3)}),
        ({"a": 1}, {"b": 1}, {"o.a": (1, "-"), "o.b": ("-", 1)}),
        ({"a": [1, 2]}, {"a": [2, 1]}, {"o.a": ([1, 2], [2, 1])}),
        ({"a": 1}, {"a": 1.0}, {"o.a": (1, 1.0)}),
        ({"a": True}, {"a": 1}, {"o.a": (True, 1)}),
        ({"a": None}, {}, {"o.a": (None, "-")}),
        ({"a-b": {"c": 1}}, {"a-b": {"c": 2}}, {"o[a-b].c": (1, 2)}),
        ({"etc": {"x/y z": 1}}, {"etc": {"x/y z": 2}}, {"o.etc[x/y z]": (1, 2)}),
        # No path of fields leads to the inner key: the object around it is told.
        (
            {"a-b": {"c-d": 1, "e": 1}},
            {"a-b": {"c-d": 2, "e": 1}},
            {"o[a-b]": ({"c-d": 1, "e": 1}, {"c-d": 2, "e": 1})},
        ),
        ({"a-b": {"c-d": 1, "e": 1}}, {"a-b": {"c-d": 1, "e": 2}}, {"o[a-b].e": (1, 2)}),
        ({"a": {"b": 1}}, {"a": 3}, {"o.a": ({"b": 1}, 3)}),
        ("x", "y", {"o": ("x", "y")}),
        ({}, {}, {}),
    ],
)
def test_each_path_that_differs_is_told(want: Any, have: Any, expected: Any) -> None:
    assert told(want, have) == expected


def test_ignored_paths_are_left_out_however_they_are_written() -> None:
    want, have = {"a": {"b": 1, "c": 1}, "d": 1}, {"a": {"b": 2, "c": 2}, "d": 2}
    assert told(want, have, "o.a.b", "o[d]") == {"o.a.c": (1, 2)}
    assert told(want, have, "o.a") == {"o.d": (1, 2)}
    assert told(want, have, "o") == {}
    assert told({"x": 1}, {}, "o.x") == {}


def test_texts_that_cannot_be_read_are_compared_whole() -> None:
    assert changes("{", "{}", "o") is None
    assert [d.path for d in diff(box(JSONS, extra="{"), box(JSONS, extra="{}"))] == ["extra"]


def test_within_a_spec_only_the_value_counts() -> None:
    spaced = box(JSONS, extra='{"b": 1, "a": {"x": [1]}}')
    assert equal(spaced, box(JSONS, extra='{"a":{"x":[1]},"b":1}'))
    (change,) = diff(spaced, box(JSONS, extra='{"a":{"x":[2]},"b":1}'))
    assert (change.path, change.desired, change.detected) == ("extra.a.x", "[1]", "[2]")
    (change,) = diff(spaced, box(JSONS))
    assert (change.path, json.loads(change.desired), change.detected) == (
        "extra",
        {"b": 1, "a": {"x": [1]}},
        "",
    )
    assert equal(spaced, box(JSONS, extra='{"b": 2, "a": {"x": [1]}}'), ignored=("extra.b",))
    assert equal(box(JSONS), spaced)  # left out: unmanaged


def test_what_is_replaced_or_secret_stays_so_below() -> None:
    replaced = classes(sample_file(json=True, replace=True), extension_known=True)
    (change,) = diff(box(replaced, extra='{"a":1}'), box(replaced, extra='{"a":2}'))
    assert change.replace
    assert change.path == "extra.a"
    secret = classes(sample_file(json=True, sensitive=True), extension_known=True)
    (change,) = diff(box(secret, extra='{"a":"hush"}'), box(secret, extra='{"a":"hush2"}'))
    assert change.path == "extra"
    assert "hush" not in change.desired + change.detected


KEYS = st.sampled_from(["a", "b", "a-b", "x.y", 'q"', "[]"])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.integers(0, 2) | st.lists(st.integers(0, 1), max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@given(TREES, TREES)
def test_nothing_is_told_only_of_equal_values(want: Any, have: Any) -> None:
    assert (not told(want, have)) == (want == have)
