from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import WrongState
from services.updater.drivers.lock_inputs import lock_inputs
from services.updater.models import Input


def node(rev: str, **inputs: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "locked": {
            "type": "github",
            "owner": "o",
            "repo": "r",
            "rev": rev,
            "lastModified": 5,
            "narHash": "sha256-x",
        },
        "original": {"type": "github", "owner": "o", "repo": "r"},
    }
    return {**made, "inputs": inputs} if inputs else made


def lock(nodes: dict[str, Any], version: Any = 7, **root: Any) -> bytes:
    return json.dumps(
        {"version": version, "root": "root", "nodes": {"root": {"inputs": root}, **nodes}}
    ).encode()


def test_nested_and_following() -> None:
    text = lock(
        {"nixpkgs": node("1"), "home": node("2", nixpkgs=["nixpkgs"], utils="utils_2"), "utils_2": node("3")},
        nixpkgs="nixpkgs",
        home="home",
    )
    found = {one.path: one for one in lock_inputs(text, [Input("nixpkgs", url="u", line=3)])}
    assert {path: one.revision for path, one in found.items()} == {
        "home": "2",
        "home/nixpkgs": "",
        "home/utils": "3",
        "nixpkgs": "1",
    }
    assert found["home/nixpkgs"].follows == "nixpkgs"
    assert (found["nixpkgs"].url, found["nixpkgs"].line, found["nixpkgs"].time) == ("u", 3, 5)
    assert found["home"].url is None


@pytest.mark.parametrize("version", [5, 6, 7])
def test_versions(version: int) -> None:
    assert lock_inputs(lock({"a": node("1")}, version, a="a"), [])[0].revision == "1"


def test_version_five_kept_hash_and_date_apart() -> None:
    old = {"info": {"lastModified": 9, "narHash": "sha256-y"}, "locked": {"type": "path", "path": "/x"}}
    found = lock_inputs(lock({"a": old}, 5, a="a"), [])[0]
    assert (found.revision, found.time, found.locked) == ("sha256-y", 9, "path:/x")


@pytest.mark.parametrize("version", [4, 8, 99, "7", None, 7.5])
def test_other_versions_are_refused(version: Any) -> None:
    with pytest.raises(WrongState, match="has version"):
        lock_inputs(lock({}, version), [])


@pytest.mark.parametrize(
    "text",
    [
        lock({"a": node("1", b="b"), "b": node("2", a="a")}, a="a"),
        lock({}, a="missing"),
        lock({"a": {}}, a="a"),
        lock({f"n{i}": node("1", a=f"n{i + 1}") for i in range(3_000)}, a="n0"),
        lock({"a": {"locked": []}}, a="a"),
        b'{"version": 7, "root": "x", "nodes": {}}',
        b'{"version": 7, "root": ["x"], "nodes": {}}',
        b'{"version": 7, "root": "root", "nodes": []}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_broken(text: bytes) -> None:
    with pytest.raises(WrongState, match="lock file is broken"):
        lock_inputs(text, [])


def test_bomb_of_shared_nodes() -> None:
    nodes = {f"n{i}": node("1", a=f"n{i + 1}", b=f"n{i + 1}") for i in range(40)}
    with pytest.raises(WrongState, match="more than"):
        lock_inputs(lock({**nodes, "n40": node("1")}, x="n0"), [])


WORDS = st.sampled_from(["version", "root", "nodes", "inputs", "locked"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner))


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_input_is_parsed_or_refused(text: bytes) -> None:
    try:
        lock_inputs(text, [])
    except WrongState:
        pass


@given(st.dictionaries(st.text(max_size=3), VALUES))
def test_any_nodes_are_parsed_or_refused(nodes: dict[str, Any]) -> None:
    try:
        lock_inputs(lock({"a": node("1"), **nodes}, a="a", b=["a"]), [])
    except WrongState:
        pass
