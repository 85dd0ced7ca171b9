from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.system.options import paths


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", ()),
        ("a.b", ("a", "b")),
        ('services.nginx.virtualHosts."a.b".root', ("services", "nginx", "virtualHosts", "a.b", "root")),
        ("users.users.<name>.shell", ("users", "users", "<name>", "shell")),
        ("a.*.b", ("a", "*", "b")),
        (r'"q\"q"', ('q"q',)),
    ],
)
def test_paths_as_nixos_writes_them(text: str, steps: tuple[str, ...]) -> None:
    assert paths.parse(text) == steps
    assert paths.show(steps) == text


@pytest.mark.parametrize("text", [".", "a..b", "a.", '"a', 'a."b'])
def test_a_broken_path_says_where(text: str) -> None:
    with pytest.raises(ValueError, match="character"):
        paths.parse(text)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_what_is_shown_can_be_read_again(steps: list[str]) -> None:
    assert paths.parse(paths.show(steps)) == tuple(steps)
