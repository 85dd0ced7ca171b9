"""JSON with places: what the standard library reads is read alike, what it refuses is refused with its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.manifest.json_reader import is_json, read_json
from cli.manifest.nodes import Mapping, Node, Scalar, Tree
from cli.manifest.problems import SyntaxProblem

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def plain(node: Node) -> Any:
    if isinstance(node, Scalar):
        return json.loads(node.text) if node.plain else node.text
    if isinstance(node, Mapping):
        return {key.text: plain(value) for key, value in node}
    return [plain(item) for item in node.items]


@given(VALUES, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_reads_what_the_standard_library_writes(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    (node,) = read_json(text, Tree("a.json"))

    assert plain(node) == value


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ('{"a": 1,}', 1, 9, "expected a key"),
        ('{"a" 1}', 1, 6, "expected a colon"),
        ("[1 2]", 1, 4, "expected a comma"),
        ('[1,\n  "é", nul]', 2, 8, "expected a value"),
        ("{a: 1}", 1, 2, "expected a key"),
        ("[01]", 1, 2, "expected a value or ]"),
        ("[", 1, 2, "found the end of the file"),
        ("[1]]", 1, 4, "expected a value"),
        ('["a\nb"]', 1, 2, "expected a value"),
        ('["\\x"]', 1, 2, "no JSON string"),
        ("[1}", 1, 3, "expected a comma"),
        ("[NaN]", 1, 2, "expected a value"),
        ("// comment\n{}", 1, 1, "expected a value"),
    ],
)
def test_tells_where_it_can_not_be_read(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        list(read_json(text, Tree("a.json")))

    problem = caught.value.problem
    assert (problem.line, problem.column) == (line, column)
    assert message in problem.message


def test_a_key_that_stands_twice_is_kept_to_be_told() -> None:
    tree = Tree("a.json")

    list(read_json('{"a": 1,\n "a": 2}', tree))

    ((key, first),) = tree.duplicates
    assert (key.position.line, key.position.column) == (2, 2)
    assert first.line == 1


def test_several_documents_follow_one_another() -> None:
    assert [plain(node) for node in read_json('{"a": 1}\n{"b": 2}', Tree("a.json"))] == [{"a": 1}, {"b": 2}]


def test_only_objects_and_lists_are_taken_for_json() -> None:
    assert is_json(' {"a": [1]}')
    assert not is_json("{a: 1}")
    assert not is_json("12")
    assert not is_json("[" * 100_000)
