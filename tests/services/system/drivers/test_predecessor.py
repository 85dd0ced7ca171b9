"""Reading the predecessor's configurations with the real nix: samples of each version, and hostile ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from common.errors import ControlError, Forbidden, HostUnavailable, InvalidRequest, NotFound, WrongState
from services.system.drivers.predecessor import PredecessorDriver

SAMPLES = Path(__file__).parents[3] / "support/predecessor"
pytestmark = pytest.mark.host


@pytest.fixture
def driver(require: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PredecessorDriver:
    require(binary="nix")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NIX_CONFIG", "build-users-group =\nsubstituters =")
    for name in ("STORE", "STATE", "LOG", "CONF"):
        monkeypatch.setenv(f"NIX_{name}_DIR", str(tmp_path / f"nix-{name.lower()}"))
    return PredecessorDriver(Path("/"), seconds=40)


@pytest.mark.parametrize(
    ("sample", "layout", "files"), [("v0", "flat", 1), ("v1", "split", 11), ("v2", "nested", 1)]
)
def test_samples(driver: PredecessorDriver, sample: str, layout: str, files: int) -> None:
    found = driver.read(str(SAMPLES / sample))
    assert (found.layout, len(found.files)) == (layout, files)
    assert all(file.value[0] == "set" for file in found.files)


def test_a_split_configuration_has_paths_other_files_and_compose_texts(driver: PredecessorDriver) -> None:
    found = driver.read(str(SAMPLES / "v1"))
    assert found.files[0].attribute_path == ()
    assert ("core", "base", "network") in [file.attribute_path for file in found.files]
    assert "README.md" in [path.name for path, _ in found.others]
    assert [text.splitlines()[0] for _, text in found.compose] == ["services:"]


def test_the_file_itself_can_be_named(driver: PredecessorDriver) -> None:
    assert driver.read(str(SAMPLES / "v2/systemConfig.nix")).layout == "nested"


def test_places_paths_functions_and_derivations_are_told(driver: PredecessorDriver, tmp_path: Path) -> None:
    text = '{\n  a = ./b.nix;\n  f = x: x;\n  d = { type = "derivation"; };\n  o.outPath = "kept";\n}\n'
    (tmp_path / "system-config.nix").write_text(text)
    (file,) = driver.read(str(tmp_path)).files
    found = {name: (place[1], value) for name, place, value in file.value[1]}
    assert found["a"] == (2, ["path", str(tmp_path / "b.nix")])
    assert found["f"] == (3, ["lambda"])
    assert found["d"] == (4, ["derivation"])
    assert found["o"][1][1][0][::2] == ["outPath", ["string", "kept"]]


def test_both_layouts_at_once(driver: PredecessorDriver, tmp_path: Path) -> None:
    leaf = tmp_path / "systemConfig/core/base/network/config.nix"
    leaf.parent.mkdir(parents=True)
    leaf.write_text('{ hostName = "split"; }')
    nested = tmp_path / "systemConfig.nix"
    for said, layout, unread in (("monolith", "nested", leaf), ("split", "split", nested)):
        nested.write_text(f'{{ core.management.system-manager.layout = "{said}"; }}')
        found = driver.read(str(tmp_path))
        assert found.layout == layout
        assert (unread, "another layout is in use: not read") in found.others


HOSTILE = [
    ("{\n  a = ", "system-config.nix:[23]: syntax error"),
    ("{\n  a = let x = x; in x;\n}", "system-config.nix:2: infinite recursion"),
    ("let f = x: 1 + f x; in {\n  a = f 0;\n}", "infinite recursion"),
    ("let f = n: { a = f (n + 1); }; in f 0", "infinite recursion"),
    ("{\n\n  a = import ./missing.nix;\n}", "system-config.nix:3: .*No such file"),
    ('{\n  a = throw "my own words";\n}', "system-config.nix:2: my own words"),
    ('{\n  a = 1 + "x";\n}', "system-config.nix:2: cannot add"),
    ('{\n  a = builtins.readFile "/etc/passwd";\n}', "system-config.nix:2: .*forbidden"),
    ("{\n  a = builtins.readDir /etc;\n}", "system-config.nix:2: .*forbidden"),
    ('{\n  a = builtins.fetchurl "http://localhost:1/x";\n}', "forbidden"),
    ("{\n  a = import <nixpkgs> {};\n}", "system-config.nix:2: .*search path"),
    ('{\n  a = builtins.exec [ "id" ];\n}', "system-config.nix:2: "),
    (
        '{\n  a = import (derivation { name = "x"; system = "x86_64-linux"; builder = "/bin/sh"; });\n}',
        "system-config.nix:2: it builds something",
    ),
    ('{\n  a = "${./system-config.nix}";\n}', "system-config.nix:2: it builds something, or copies"),
]


@pytest.mark.parametrize(("text", "told"), HOSTILE, ids=[told[-24:] for _, told in HOSTILE])
def test_hostile_text(driver: PredecessorDriver, tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "system-config.nix").write_text(text)
    with pytest.raises(InvalidRequest, match=told) as caught:
        driver.read(str(tmp_path))
    assert len(str(caught.value)) < 600
    assert "trace" not in str(caught.value)
    assert not (tmp_path / "nix-store").exists() or not list((tmp_path / "nix-store").glob("*-x*"))


def test_an_error_in_a_leaf_names_that_leaf(driver: PredecessorDriver, tmp_path: Path) -> None:
    leaf = tmp_path / "systemConfig/core/base/audio/config.nix"
    leaf.parent.mkdir(parents=True)
    leaf.write_text("{\n  system = nonsense;\n}")
    with pytest.raises(InvalidRequest, match=r"core/base/audio/config\.nix:2: undefined variable"):
        driver.read(str(tmp_path))


def test_what_never_ends_is_ended(require: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require(binary="nix")
    monkeypatch.setenv("HOME", str(tmp_path))
    loop = "let f = n: if n == 0 then 0 else f (n - 1); in builtins.genList (i: f (i * 100)) 1000000000"
    (tmp_path / "system-config.nix").write_text(f"{{ a = builtins.foldl' (a: b: a + b) 0 ({loop}); }}")
    with pytest.raises((HostUnavailable, InvalidRequest)):
        PredecessorDriver(Path("/"), seconds=2).read(str(tmp_path))


def test_more_memory_than_allowed(driver: PredecessorDriver, tmp_path: Path) -> None:
    text = "{ a = builtins.foldl' (a: b: a ++ a) [ 1 2 3 4 ] (builtins.genList (x: x) 100); }"
    (tmp_path / "system-config.nix").write_text(text)
    with pytest.raises(HostUnavailable, match="memory"):
        driver.read(str(tmp_path))


def test_links(driver: PredecessorDriver, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(WrongState, match="round in circles"):
        driver.read(str(tmp_path / "a"))
    tree = tmp_path / "tree"
    (tree / "systemConfig/core").mkdir(parents=True)
    (tree / "systemConfig/core/config.nix").write_text("{ }")
    (tree / "systemConfig/core/again").symlink_to("..")
    (tree / "system-config.nix").symlink_to("/etc/passwd")
    found = driver.read(str(tree))
    assert [file.attribute_path for file in found.files] == [("core",)]
    assert {path.name for path, note in found.others if "link" in note} == {"again", "system-config.nix"}


def test_what_is_not_there(driver: PredecessorDriver, tmp_path: Path) -> None:
    for path, kind in (
        (str(tmp_path / "no"), NotFound),
        (str(tmp_path), NotFound),
        ("relative", InvalidRequest),
    ):
        with pytest.raises(kind):
            driver.read(path)
    (tmp_path / "other.nix").write_text("{ }")
    with pytest.raises(InvalidRequest):
        driver.read(str(tmp_path / "other.nix"))


def test_what_is_no_text(driver: PredecessorDriver, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "system-config.nix")
    with pytest.raises(NotFound):
        driver.read(str(tmp_path))
    (tmp_path / "systemConfig/a").mkdir(parents=True)
    os.mkfifo(tmp_path / "systemConfig/a/config.nix")
    with pytest.raises(NotFound):
        driver.read(str(tmp_path))
    (tmp_path / "systemConfig.nix").write_bytes(b"\xff\xfe{ a = 1; }")
    with pytest.raises(InvalidRequest, match=r"systemConfig\.nix"):
        driver.read(str(tmp_path))
    os.truncate(tmp_path / "systemConfig.nix", 1 << 30)
    with pytest.raises(InvalidRequest, match="1024 MiB"):
        driver.read(str(tmp_path))


def test_names_are_never_code(driver: PredecessorDriver, tmp_path: Path) -> None:
    folder = tmp_path / "a\"; builtins.abort ''x'' ${toString 1} =b:c"
    folder.mkdir()
    (folder / "system-config.nix").write_text("{ a = 1; }")
    assert driver.read(str(folder)).layout == "flat"


def test_a_confined_root_is_not_left(require: Any, tmp_path: Path) -> None:
    require(binary="nix")
    (tmp_path / "root/etc").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "system-config.nix").write_text("{ }")
    (tmp_path / "root/etc/nixos").symlink_to(outside)
    with pytest.raises(Forbidden, match="leads out of"):
        PredecessorDriver(tmp_path / "root").read("/etc/nixos")


def test_an_unreadable_name_is_told(driver: PredecessorDriver, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/systemConfig/\xff\xfe"
    os.makedirs(folder)
    (tmp_path / "systemConfig/config.nix").write_text("{ a = 1; }")
    found = driver.read(str(tmp_path))
    assert len(found.files) == 1
    assert any("no attribute" in note for _, note in found.others)


def test_without_nix_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "system-config.nix").write_text("{ }")
    with pytest.raises(ControlError, match="nix is not installed"):
        PredecessorDriver(Path("/")).read(str(tmp_path))
