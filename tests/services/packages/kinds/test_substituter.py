"""Substituter: rendered, and seen in nix.conf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.errors import WrongState
from common.manager import Action, Change
from nixcc.packages.v1 import substituter_pb2 as pb
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.kinds.substituter import SubstituterKind
from vm_kinds import admitted, look, report, violations

URL = "https://cache.example.org"
KEY = "cache.example.org-1:mB9FSh9qf2dCimDSUo8Zy7bkq5CX+/rkCWyvRCYg3Fs="
OTHER = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/nix").mkdir(parents=True)
    (tmp_path / "etc/NIXOS").touch()
    return tmp_path


@pytest.fixture
def kind(root: Path) -> SubstituterKind:
    return SubstituterKind(ActiveGeneration(root))


def conf(root: Path, text: str) -> None:
    (root / "etc/nix/nix.conf").write_text(text)


def test_rendered(kind: SubstituterKind) -> None:
    spec, key = admitted(kind, "example", pb.Substituter(url=f"{URL}/", public_keys=[KEY], priority=30))
    assert key == URL
    assert kind.render("example", spec) == {
        "nix": {"settings": {"substituters": [f"{URL}?priority=30"], "trusted-public-keys": [KEY]}}
    }
    spec, _ = admitted(kind, "local", pb.Substituter(url="file:///srv/cache"))
    assert kind.render("local", spec) == {"nix": {"settings": {"substituters": ["file:///srv/cache"]}}}


def test_what_the_generation_made_is_seen(kind: SubstituterKind, root: Path) -> None:
    assert look(kind, URL) is None
    spec, _ = admitted(kind, "example", pb.Substituter(url=URL, public_keys=[KEY, OTHER], priority=30))
    options = kind.render("example", spec)
    folder = root / "run/current-system/etc/nixcc"
    folder.mkdir(parents=True)
    rows = [{"kind": "Substituter", "name": "example", "options": options}]
    (folder / "desired.json").write_text(json.dumps({"version": 1, "options": {}, "resources": rows}))
    conf(
        root,
        f"substituters = {URL}?priority=30 https://cache.nixos.org/\ntrusted-public-keys = {OTHER} {KEY}\n",
    )

    seen = look(kind, URL).spec
    assert (seen.url, sorted(seen.public_keys), seen.priority) == (URL, [KEY, OTHER], 30)
    assert kind.enumerate() == [URL, "https://cache.nixos.org"]
    adopted = look(kind, "https://cache.nixos.org").spec
    assert (list(adopted.public_keys), adopted.HasField("priority")) == ([OTHER], False)


def test_nix_conf_in_parts(kind: SubstituterKind, root: Path) -> None:
    conf(
        root,
        "# substituters = https://commented.example\nsubstituters = https://first.example\n"
        f"substituters = {URL} # the last one counts\nextra-substituters = https://more.example\n"
        "!include /etc/nix/absent.conf\ninclude more.conf\ninclude nix.conf\n",
    )
    (root / "etc/nix/more.conf").write_text("extra-substituters = file:///srv/x\n")
    assert {URL, "https://more.example", "file:///srv/x"} == set(kind.enumerate())


def test_a_damaged_desired_file_is_told(kind: SubstituterKind, root: Path) -> None:
    folder = root / "run/current-system/etc/nixcc"
    folder.mkdir(parents=True)
    for text in ('{"version": 1, "resou', '{"resources": [7]}', "[]"):
        (folder / "desired.json").write_text(text)
        with pytest.raises(WrongState, match=r"desired\.json can't be read"):
            kind.detect([URL])


def test_only_on_nixos(tmp_path: Path) -> None:
    kind = SubstituterKind(ActiveGeneration(tmp_path))
    assert "no NixOS generations" in kind.unsupported()
    with pytest.raises(WrongState):
        kind.apply(Change(URL, Action.CREATE, pb.Substituter(url=URL), None), report)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (pb.Substituter(), ["url"]),
        (pb.Substituter(url="cache.example.org"), ["url"]),
        (pb.Substituter(url="https://cache example"), ["url"]),
        (pb.Substituter(url=f"{URL}?priority=1"), ["url"]),
        (pb.Substituter(url="https://"), ["url"]),
        (pb.Substituter(url="https:///x"), ["url"]),
        (pb.Substituter(url="https://me:secret@cache.example.org"), ["url"]),
        (pb.Substituter(url=URL, public_keys=["x"]), ["public_keys[0]"]),
        (pb.Substituter(url=URL, public_keys=[KEY, KEY.replace("mB9", "mB8")]), ["public_keys[1]"]),
        (pb.Substituter(url=URL, priority=-1), ["priority"]),
        (pb.Substituter(url="s3://bucket", public_keys=[KEY, OTHER]), []),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:40],
)
def test_validation(kind: Any, spec: pb.Substituter, fields: list[str]) -> None:
    assert violations(kind, "x", spec) == fields
