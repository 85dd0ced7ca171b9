"""What is written as Nix is what nix reads."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.homelab.exports.nix_text import expression

TEXT = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['${builtins.abort "no"}', "$${x}", "''", "\\", '"', "$", "\n\t", "in", "a.b", "", "\\${x}"]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=30,
)


def read(text: str) -> Any:
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "--expr", text],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, (text, done.stderr)
    return json.loads(done.stdout)


@pytest.mark.host
def test_nix_reads_what_was_meant(require: Any) -> None:
    require(binary="nix-instantiate")
    found: list[Any] = []

    @settings(max_examples=400, deadline=None, database=None)
    @given(VALUE)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    # Nix is started once for all.
    assert read("[\n" + "\n".join(f"({expression(value)})" for value in found) + "\n]") == found


def test_it_can_be_read_by_people() -> None:
    assert expression({"a": {"b-c": [1, -1], "d.e": True}, "if": {}}) == (
        '{\n  a = {\n    b-c = [\n      1\n      (-1)\n    ];\n    "d.e" = true;\n  };\n  "if" = { };\n}'
    )


def test_what_has_no_form() -> None:
    with pytest.raises(TypeError, match="set has no form"):
        expression({1, 2})
