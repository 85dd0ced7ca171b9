"""Versions and constraints."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.packages.versions import Constraint, compare, parse_name, parse_store_path, without_output

PAIRS = [
    ("1.0", "2.3"),
    ("2.1", "2.3"),
    ("2.3", "2.3"),
    ("2.5", "2.3"),
    ("3.1", "2.3"),
    ("2.3.1", "2.3"),
    ("2.3.1", "2.3a"),
    ("2.3pre1", "2.3"),
    ("2.3pre3", "2.3pre12"),
    ("2.3a", "2.3c"),
    ("2.3pre1", "2.3c"),
    ("2.3pre1", "2.3q"),
    ("1.2-rc1", "1.2"),
    ("", "1"),
    ("10", "9"),
    ("1.0", "1-0"),
    ("unstable-2024-01-01", "1.0"),
    ("pre", ""),
]
NAMES = [
    "hello-1.0",
    "python3.11-requests-2.31.0",
    "a-b-c",
    "nix-2.8.0pre1",
    "-1",
    "x-",
    "hello",
    "7zip-9.20.1",
]
HASH = "0" * 32


@pytest.mark.host
def test_as_nix_itself_compares_and_parses(require: Any) -> None:
    require(binary="nix")
    expression = (
        "{ pairs, names }: { orders = map (p: builtins.compareVersions (builtins.elemAt p 0)"
        " (builtins.elemAt p 1)) (builtins.fromJSON pairs);"
        " parsed = map builtins.parseDrvName (builtins.fromJSON names); }"
    )
    arguments = ["--argstr", "pairs", json.dumps(PAIRS), "--argstr", "names", json.dumps(NAMES)]
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "-E", expression, *arguments]
    said = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
    assert [compare(one, other) for one, other in PAIRS] == said["orders"]
    assert [parse_name(name) for name in NAMES] == [(p["name"], p["version"]) for p in said["parsed"]]


@given(st.text("0123456789.-abcpre", max_size=12), st.text("0123456789.-abcpre", max_size=12))
def test_order_is_antisymmetric(one: str, other: str) -> None:
    assert compare(one, one) == 0
    assert compare(one, other) == -compare(other, one)


@pytest.mark.parametrize(
    ("constraint", "version", "fine"),
    [
        ("", "", True),
        ("", "1", True),
        (">=1", "", False),
        (">=2.12", "2.12", True),
        (">=2.12", "2.9", False),
        (">1, <2", "1.5", True),
        (">1, <2", "2", False),
        ("1.4.*", "1.4", True),
        ("1.4.*", "1.4.9", True),
        ("1.4.*", "1.40", False),
        ("!=1.4.*", "1.4.2", False),
        ("!=1.5", "1.5", False),
        ("1.5", "1.5", True),
        ("== 1.5", "1.5.0", False),
        ("<=2.0", "2.0pre1", True),
    ],
)
def test_constraints(constraint: str, version: str, fine: bool) -> None:
    assert Constraint.parse(constraint).allows(version) is fine


@pytest.mark.parametrize("text", ["new", ">", "1 2", ">=1.*", "~>1", "1;2", ">=\0"])
def test_what_is_no_constraint(text: str) -> None:
    if text == "new":
        assert not Constraint.parse(text).allows("1.0"), "a word is a version like others"
    else:
        with pytest.raises(ValueError, match=r"comparison|go with"):
            Constraint.parse(text)


def test_store_paths() -> None:
    assert parse_store_path(f"/nix/store/{HASH}-hello-1.0") == ("hello", "1.0")
    assert parse_store_path(f"/elsewhere/{HASH}-source/") == ("source", "")
    assert without_output("1.0-dev", ()) == "1.0"
    assert without_output("1.0-rc1", ()) == "1.0-rc1"
    assert without_output("1.0-tools", ("tools",)) == "1.0"
