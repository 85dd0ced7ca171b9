"""Field paths are read back as they were written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.fieldpath import Step, at, dotted, join, parse

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
steps = st.one_of(
    st.builds(Step, names, st.one_of(st.none(), st.text()), st.just(False)),
    st.builds(Step, names, st.none(), st.just(True)),
)


@given(st.lists(steps, min_size=1, max_size=5).map(tuple))
def test_round_trip(path: tuple[Step, ...]) -> None:
    assert parse(dotted(path)) == path


def test_what_people_write() -> None:
    assert parse("interfaces[lan].model") == (Step("interfaces", "lan"), Step("model"))
    assert parse("disks[*].path") == (Step("disks", every=True), Step("path"))
    assert parse("labels[a.b/c]") == (Step("labels", "a.b/c"),)
    assert parse('labels["*"]') == (Step("labels", "*"),)


def test_elements_are_quoted_only_where_needed() -> None:
    assert at("disks", 0) == "disks[0]"
    assert at("labels", "a b.c") == "labels[a b.c]"
    assert at("labels", "a]b") == 'labels["a]b"]'
    assert at("labels", "*") == 'labels["*"]'
    assert at("labels", "") == 'labels[""]'
    assert at("labels", "a\n") == 'labels["a\\n"]'
    assert join("", "a") == "a"
    assert join("a[0]", "b") == "a[0].b"


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "a[", "a[b", "a[]", 'a["b', 'a["b"', "a]b", "a[b]c", "a b", "1a", "a[[b]]"],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="field path"):
        parse(text)


@given(st.text(alphabet='ab.[]*"\\ 0'))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        path = parse(text)
    except ValueError:
        return
    assert parse(dotted(path)) == path
