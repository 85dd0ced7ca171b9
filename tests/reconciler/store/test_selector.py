from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest
from reconciler.store import Selector


@pytest.mark.parametrize(
    ("text", "labels", "holds"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in ( b , c )", {"a": "c"}, True),
        ("a in (b,c)", {"a": "d"}, False),
        ("a in (b,)", {"a": ""}, True),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        (" ! a ", {}, True),
        ("in", {"in": "x"}, True),
        ("in in (in)", {"in": "in"}, True),
        ("a=b,c!=d,e in (f,g),h,!i", {"a": "b", "e": "g", "h": ""}, True),
        ("a=b,c!=d,e in (f,g),h,!i", {"a": "b", "e": "g", "h": "", "i": ""}, False),
        ("nixos.org/role=web-1.2_3", {"nixos.org/role": "web-1.2_3"}, True),
        (" a = b , c ", {"a": "b", "c": ""}, True),
    ],
)
def test_matches(text: str, labels: dict[str, str], holds: bool) -> None:
    assert Selector.parse(text).matches(labels) is holds


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "end"),
        ("a,", "end"),
        ("a,,b", "character 3"),
        ("=b", "character 1"),
        ("a=b=c", "character 4"),
        ("a in b", "character 3"),
        ("a in (b", "character 3"),
        ("a b", "character 3"),
        ("a=$x", "character 3"),
        ("-a", "character 1"),
        ("a=" + "x" * 64, "character"),
        ("a in (x y)", "character 7"),
        ("a\nb", "character"),
    ],
)
def test_bad_syntax(text: str, where: str) -> None:
    with pytest.raises(InvalidRequest, match=where) as told:
        Selector.parse(text)
    assert told.value.next_step
    assert told.value.violations[0].field == "label_selector"


@given(st.text(alphabet="ab=!,() intoé\n/.-", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        Selector.parse(text).matches({"a": "b"})
    except InvalidRequest:
        pass
