"""ncc option against a real daemon, with an index of the host's manual, of a file and of a flake that Nix evaluates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import daemons

_MANUAL = "root/run/current-system/sw/share/doc/nixos/options.json"
_OPTIONS = {
    "networking.hostName": ("string", "The name of the machine."),
    "networking.firewall.enable": ("boolean", "Whether to enable the firewall. It blocks ports."),
    "networking.firewall.allowedTCPPorts": (
        "list of 16 bit unsigned integer; between 0 and 65535 (both inclusive)",
        "Ports.",
    ),
    "users.users.<name>.shell": ("null or package", "The login shell."),
}
_FLAKE = """{
  outputs = { self }: {
    nixosConfigurations.web = {
      config.networking.hostName = "web";
      options.networking.hostName = {
        _type = "option";
        loc = [ "networking" "hostName" ];
        type = { name = "str"; description = "string"; };
        description = "Its name.";
        default = "nixos";
        declarations = [ "modules/net.nix" ];
        isDefined = true;
        definitionsWithLocations = [ { file = "configuration.nix"; value = "web"; } ];
      };
      options.mine.broken = throw "never looked at";
      options.mine.port = {
        _type = "option";
        loc = [ "mine" "port" ];
        type = { name = "port"; description = "16 bit unsigned integer; between 0 and 65535 (both inclusive)"; };
      };
    };
  };
}
"""


def manual(folder: Path) -> None:
    path = folder / _MANUAL
    path.parent.mkdir(parents=True)
    rows = {
        name: {
            "loc": name.split("."),
            "type": kind,
            "description": text,
            "default": {"_type": "literalExpression", "text": "false"},
        }
        for name, (kind, text) in _OPTIONS.items()
    }
    path.write_text(json.dumps(rows))


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[daemons.Daemon]:
    nix = tmp_path / "nix"
    for name in ("STORE", "STATE", "LOG", "CONF"):
        monkeypatch.setenv(f"NIX_{name}_DIR", str(nix / name.lower()))
    monkeypatch.setenv("NIX_CONFIG", "build-users-group =\nsandbox = false\nsubstituters =\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(nix / "cache"))
    manual(tmp_path)
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/NIXOS").touch()
    with daemons.daemon(tmp_path, "system", "reconciler") as started:
        yield started


def test_options_are_found_explained_and_browsed(control: daemons.Daemon) -> None:
    found = control.json("option", "search", "firewall", "ports")["options"]
    assert {one["name"] for one in found} >= {"networking.firewall.enable"}
    assert "users.users.<name>.shell" in control.out("option", "search", "login shell")
    shown = control.out("option", "show", "users.users.alice.shell")
    assert shown.startswith("users.users.<name>.shell\n")
    assert "null or package" in shown
    tree = control.json("option", "tree", "networking")["children"]
    assert [(row["name"], row["below"]) for row in tree] == [("firewall", 2), ("hostName", 0)]
    assert control.json("option", "index")["options"] == 4
    missing = control.run("option", "show", "networking.nope")
    assert (missing.returncode, missing.stdout) == (5, "")
    assert "ncc option search nope" in missing.stderr


def test_a_configuration_is_checked_before_any_nix(control: daemons.Daemon, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("networking: {hostName: web, firewall: {allowedTCPPorts: [22]}}\n")
    (tmp_path / "bad.yaml").write_text("networking: {hostname: web, firewall: {allowedTCPPorts: [70000]}}\n")
    (tmp_path / "twice.yaml").write_text("a: 1\na: 2\n")

    assert control.out("option", "validate", str(tmp_path / "good.yaml")) == "all of it fits\n"
    bad = control.run("option", "validate", str(tmp_path / "bad.yaml"))
    assert bad.returncode == 1
    assert "networking.hostname: there is no such option; did you mean networking.hostName?" in bad.stdout
    assert "networking.firewall.allowedTCPPorts[0]: takes" in bad.stdout
    twice = control.run("option", "validate", str(tmp_path / "twice.yaml"))
    assert twice.returncode != 0
    assert "twice.yaml:2:1" in twice.stderr

    document = {
        "kind": "NixosOptions",
        "metadata": {"name": "net"},
        "spec": {"options": {"networking": {"hostname": "x"}}},
    }
    applied = control.run("apply", "-f", "-", stdin=json.dumps(document))
    assert applied.returncode != 0
    assert "did you mean networking.hostName?" in applied.stderr


def test_sets_are_composed_or_every_conflict_is_named(control: daemons.Daemon, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("networking: {firewall: {allowedTCPPorts: [22], enable: true}}\n")
    (tmp_path / "b.yaml").write_text("networking: {firewall: {allowedTCPPorts: [80]}}\n")
    (tmp_path / "c.yaml").write_text("networking: {firewall: {enable: false}}\n")
    a, b, c = (str(tmp_path / f"{name}.yaml") for name in "abc")

    whole = control.json("option", "compose", a, b)
    assert whole == {"networking": {"firewall": {"allowedTCPPorts": [22, 80], "enable": True}}}
    conflict = control.run("option", "compose", a, b, c)
    assert conflict.returncode != 0
    assert "networking.firewall.enable" in conflict.stderr
    assert a in conflict.stderr
    assert c in conflict.stderr


def test_the_documentation_of_a_configuration(control: daemons.Daemon, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("networking: {firewall: {enable: true}}\nown: {thing: '```'}\n")

    text = control.out("option", "docs", str(tmp_path / "a.yaml"))

    assert "## `networking.firewall.enable`" in text
    assert "Whether to enable the firewall." in text
    assert "````" in text
    assert "Nothing is set." in control.out("option", "docs")


@pytest.mark.host
def test_options_of_a_flake_are_evaluated(control: daemons.Daemon, tmp_path: Path, require: Any) -> None:
    require(binary="nix")
    flake = tmp_path / "flake"
    flake.mkdir()
    (flake / "flake.nix").write_text(_FLAKE)

    control.out("option", "refresh", "--flake", str(flake), "--host", "web")

    index = control.json("option", "index")
    assert (index["origin"], index["options"]) == ("flake", 2)
    assert control.json("option", "search", "mine")["options"][0]["name"] == "mine.port"
    arguments = ("--flake", f"path:{flake}", "--host", "web")
    shown = control.json("option", "show", "networking.hostName", *arguments)
    assert shown["value"] == "web"
    assert shown["definitions"] == [{"file": "configuration.nix", "value": "web"}]
    nobody = control.run("option", "refresh", "--flake", str(flake), "--host", "${builtins.abort 1}")
    assert nobody.returncode != 0
    assert "it has web" in nobody.stderr
    assert control.json("option", "index")["origin"] == "flake"
    control.out("option", "refresh")
    assert control.json("option", "index")["origin"] == "manual"


def test_a_host_that_tells_its_options_nowhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with daemons.daemon(tmp_path, "system", "reconciler") as started:
        done = started.run("option", "search", "x")

        assert done.returncode == 5
        assert "ncc option refresh" in done.stderr
        assert started.run("option", "refresh", "--file", "/nope").returncode != 0
