"""Packages, sets and caches on their way into a real generation: built by Nix, switched to, and seen in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, daemon, until
from script_systems import ScriptHost

pytestmark = pytest.mark.host

URL = "https://cache.example.org"
KEY = "cache.example.org-1:mB9FSh9qf2dCimDSUo8Zy7bkq5CX+/rkCWyvRCYg3Fs="


@pytest.fixture
def host(require: Any, tmp_path: Path) -> ScriptHost:
    require(binary="nix")
    return ScriptHost(tmp_path)


@pytest.fixture
def ncc(host: ScriptHost, tmp_path: Path) -> Iterator[Daemon]:
    host.install(host.system("first"))
    with daemon(tmp_path, env=host.environment, services=("system", "packages")) as started:
        started.environment = host.environment
        yield started


def document(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def conditions(ncc: Daemon, kind: str, name: str) -> dict[str, str]:
    item = ncc.json("get", kind, name)["items"][0]
    return {row["type"]: row["reason"] for row in item["status"].get("conditions", [])}


def test_they_become_part_of_it(host: ScriptHost, ncc: Daemon) -> None:
    generation = document("Generation", "system", flake=str(host.flake()), attribute="web", deadline="30s")
    ncc.apply(
        document("Package", "firefox", driver="SYSTEM"),
        document("PackageSet", "web-dev", packages=["nodejs", "deno"], requires=["base"]),
        document("PackageSet", "base", packages=["git"]),
        document("Substituter", "example", url=URL, public_keys=[KEY], priority=30),
        wait=False,
    )
    until(lambda: conditions(ncc, "Package", "firefox").get("Ready") == "Pending", 30)
    until(lambda: conditions(ncc, "PackageSet", "base").get("Ready") == "AwaitsGeneration", 30)

    ncc.apply(generation)

    until(lambda: conditions(ncc, "Package", "firefox").get("Ready") == "InSync", 60)
    for name in ("base", "web-dev"):
        until(lambda name=name: ncc.ready("PackageSet", name)[0] == "True", 60)  # type: ignore[misc]
    desired = json.loads((Path(host.running) / "etc/nixcc/desired.json").read_text())
    wanted = sorted(row["_package"] for row in desired["options"]["environment"]["systemPackages"])
    assert wanted == ["deno", "firefox", "git", "nodejs"]
    assert desired["options"]["nix"]["settings"]["substituters"] == [f"{URL}?priority=30"]

    # What NixOS makes of the settings: only then the cache is one that Nix uses.
    assert ncc.ready("Substituter", "example")[0] == "False"
    (host.root / "etc/nix").mkdir()
    (host.root / "etc/nix/nix.conf").write_text(
        f"substituters = {URL}?priority=30\ntrusted-public-keys = {KEY}\n"
    )
    ncc.out("reconcile", "substituter", "--wait")
    assert ncc.ready("Substituter", "example")[0] == "True"

    ncc.out("delete", "package", "firefox", "--wait", "--timeout", "60s")
    assert "firefox" not in (Path(host.running) / "etc/nixcc/desired.json").read_text()


def test_sets_that_exclude_each_other_stop_the_generation(host: ScriptHost, ncc: Daemon) -> None:
    ncc.apply(document("Generation", "system", flake=str(host.flake()), attribute="web", deadline="30s"))
    before = host.running
    ncc.apply(
        document("PackageSet", "docker", packages=["docker-compose"], conflicts=["podman"]),
        document("PackageSet", "podman", packages=["podman-compose"]),
        wait=False,
    )
    until(lambda: ncc.ready("Generation", "system")[0] != "True", 30)
    message = ncc.out("describe", "generation", "system")
    assert "podman is declared, too: remove one" in message
    assert host.running == before

    ncc.out("delete", "packageset", "podman", "--wait")
    until(lambda: ncc.ready("PackageSet", "docker")[0] == "True", 60)
    assert host.running != before
