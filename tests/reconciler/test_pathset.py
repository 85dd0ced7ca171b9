"""Paths that stand for all that is below them."""

from __future__ import annotations

import pytest

from reconciler.pathset import contains


@pytest.mark.parametrize(
    ("paths", "path", "expected"),
    [
        (["a"], "a", True),
        (["a"], "a.b", True),
        (["a"], "a[x].b", True),
        (["a.b"], "a", False),
        (["a"], "ab", False),
        (["a[x]"], "a[x].b", True),
        (["a[x]"], "a[y].b", False),
        (["a[x]"], "a", False),
        (["a[*]"], "a[y]", True),
        (["a[*]"], "a", False),
        (["a[*].b"], "a[y].b.c", True),
        (["a[*].b"], "a[y].c", False),
        (["a.b"], "a[y].b", True),
        (["a[x].b", "a[*].c"], "a[x].c", True),
        (["a[x].b", "a[*].c"], "a[x].b", True),
        (['a["*"]'], "a[y]", False),
        (['a["*"]'], 'a["*"]', True),
        ([], "a", False),
        (["b", "a"], "a", True),
    ],
)
def test_contains(paths: list[str], path: str, expected: bool) -> None:
    assert contains(paths, path) is expected


def test_paths_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ValueError, match="field path"):
        contains(["a["], "a")
