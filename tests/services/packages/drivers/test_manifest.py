"""manifest.json of every version, as Nix wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import WrongState
from services.packages.drivers import manifest

PATH = "/nix/store/fmin42srb41bblmfwi161aj7csvkmkaw-hello-1.0"
LOCKED = "path:/flake?lastModified=1795479667&narHash=sha256-b%2fs="
ATTRIBUTE = "packages.x86_64-linux.hello"
ELEMENT = {"active": True, "attrPath": ATTRIBUTE, "storePaths": [PATH]}
V1 = {"version": 1, "elements": [{**ELEMENT, "originalUri": "path:/flake", "uri": LOCKED}]}
V2 = {"version": 2, "elements": [{**ELEMENT, "originalUrl": "path:/flake", "url": LOCKED}]}
V3 = {
    "version": 3,
    "elements": {
        "hello": {**V2["elements"][0], "outputs": ["out"], "priority": 4},
        "by-path": {"active": True, "storePaths": [PATH], "priority": 5},
    },
}


def written(folder: Path, value: object) -> Path:
    (folder / "manifest.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


@pytest.mark.parametrize("value", [V1, V2, V3], ids=["v1", "v2", "v3"])
def test_every_version(tmp_path: Path, value: object) -> None:
    first, *others = manifest.read(written(tmp_path, value))
    assert (first.attribute, first.original_url, first.locked_url) == ("hello", "path:/flake", LOCKED)
    assert (first.version, first.pname, first.store_paths) == ("1.0", "hello", (PATH,))
    if value is V3:
        assert (first.handle, first.outputs, first.priority) == ("hello", ("out",), 4)
        assert (others[0].handle, others[0].attr_path) == ("by-path", "")
    else:
        assert (first.handle, first.outputs, first.priority) == ("0", (), 5)


def test_no_profile_yet(tmp_path: Path) -> None:
    assert manifest.read(tmp_path / "absent") == ()


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(V2)[:-30],
        "",
        "[]",
        "{}",
        {"version": 4, "elements": {}},
        {"version": 2, "elements": [{"active": True}]},
        {"version": 2, "elements": [{"storePaths": PATH}]},
        {"version": 2, "elements": [7]},
        {"version": 3, "elements": []},
        {"version": 2},
    ],
    ids=str,
)
def test_damaged_ones_are_told(tmp_path: Path, value: object) -> None:
    with pytest.raises(WrongState, match="is damaged") as caught:
        manifest.read(written(tmp_path, value))
    assert "rollback" in caught.value.next_step


def test_one_of_nix_env_is_told(tmp_path: Path) -> None:
    (tmp_path / "manifest.nix").write_text("[ ]")
    with pytest.raises(WrongState, match="made by nix-env"):
        manifest.read(tmp_path)


@given(st.integers(0, len(json.dumps(V3)) - 1))
def test_half_written_wherever_it_was_cut(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    folder = written(tmp_path_factory.mktemp("profile"), json.dumps(V3)[:length])
    with pytest.raises(WrongState):
        manifest.read(folder)
