"""What becomes of the predecessor's configurations; no key is ever dropped, no secret ever kept."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import nixos_options
from cli.kinds import Kinds
from cli.manifest import parse
from cli.predecessor.report import Import, Outcome
from cli.predecessor.translation import File, translate
from cli.predecessor.tree import dotted, leaves
from cli.presentation import to_yaml
from common.errors import InvalidRequest
from nixcc.resource.v1.resource_pb2 import Renderings
from services.system.generation import desired
from services.system.options import grammar


def tagged(value: Any) -> Any:
    """As the service sends it."""
    if isinstance(value, dict):
        return ["set", [[name, ["/c.nix", 1], tagged(inner)] for name, inner in value.items()]]
    if isinstance(value, list):
        return ["list", [tagged(item) for item in value]]
    names = {bool: "bool", int: "int", float: "float", str: "string", type(None): "null"}
    return [names[type(value)], value]


def translated(value: Any, layout: str = "nested", **texts: str) -> Import:
    return translate(layout, [File("/c.nix", (), json.dumps(tagged(value)))], texts=texts)


def options(result: Import) -> dict[str, Any]:
    return {
        i["metadata"]["name"]: i["spec"]["options"] for i in result.manifests if i["kind"] == "NixosOptions"
    }


def outcome(result: Import, key: str) -> Outcome:
    (found,) = [row.outcome for row in result.rows if row.key == key]
    return found


@pytest.mark.parametrize(
    ("role", "groups", "sudo", "linger"),
    [
        (
            "admin",
            {
                "wheel",
                "networkmanager",
                "docker",
                "podman",
                "video",
                "audio",
                "render",
                "input",
                "libvirtd",
                "kvm",
            },
            "NOPASSWD",
            False,
        ),
        (
            "restricted-admin",
            {"wheel", "networkmanager", "video", "audio", "libvirtd", "kvm"},
            "PASSWD",
            False,
        ),
        ("virtualization", {"docker", "podman", "libvirtd", "kvm"}, None, True),
        ("guest", {"networkmanager"}, None, False),
    ],
)
def test_roles(role: str, groups: set[str], sudo: str | None, linger: bool) -> None:
    result = translated({"core": {"base": {"user": {"eve": {"role": role, "defaultShell": "zsh"}}}}})
    found = options(result)["users"]
    user = found["users"]["users"]["eve"]
    assert set(user["extraGroups"]) == groups
    assert user.get("linger", False) is linger
    assert user["shell"] == "/run/current-system/sw/bin/zsh"
    assert found["programs"]["zsh"]["enable"] is True
    rules = found.get("security", {}).get("sudo", {}).get("extraRules", [])
    assert rules == (
        [{"users": ["eve"], "commands": [{"command": "ALL", "options": [sudo]}]}] if sudo else []
    )
    nobody = any("nobody could administer" in warning for warning in result.warnings)
    assert nobody is (role in ("virtualization", "guest"))


def test_without_users_it_warns() -> None:
    assert any("nobody could administer" in warning for warning in translated({}).warnings)


def test_unknown_roles_and_names_are_refused_whole() -> None:
    users = {"eve": {"role": "wizard", "autoLogin": True}, "Bad Name": {"role": "admin"}, "none": {"x": 1}}
    result = translated({"users": users})
    assert "users" not in options(result)
    assert {row.outcome for row in result.rows} == {Outcome.REFUSED}
    assert "admin, restricted-admin" in next(row.why for row in result.rows if row.key == "users.eve.role")


def test_exposures() -> None:
    network = {
        "firewall": {"enable": True, "trustedNetworks": ["10.8.0.1/24", "fd00::/8"]},
        "services": {
            "nginx": {"exposure": "public"},
            "ssh": {"exposure": "local"},
            "x": {"exposure": "public"},
        },
    }
    result = translated({"core": {"base": {"network": network}}})
    firewall = options(result)["firewall"]["networking"]["firewall"]
    assert firewall["allowedTCPPorts"] == [80, 443]
    lines = firewall["extraCommands"].splitlines()
    assert lines[:2] == [
        "iptables -A nixos-fw -s 10.8.0.0/24 -j nixos-fw-accept",
        "ip6tables -A nixos-fw -s fd00::/8 -j nixos-fw-accept",
    ]
    assert all("--dport 22 " in line for line in lines[2:])
    assert len(lines) == 5
    assert outcome(result, "core.base.network.services.x.exposure") is Outcome.REFUSED


def test_a_hostile_network_writes_no_rule() -> None:
    network = {"firewall": {"trustedNetworks": ["10.0.0.0/8", "0.0.0.0/0 -j ACCEPT; rm -rf /"]}}
    result = translated({"core": {"base": {"network": network}}})
    assert "rm -rf" not in to_yaml(result.as_dict()) + "".join(map(to_yaml, result.manifests))
    assert "extraCommands" not in json.dumps(result.manifests)
    assert outcome(result, "core.base.network.firewall.trustedNetworks") is Outcome.REFUSED


def test_names_of_the_first_version() -> None:
    result = translated(
        {"hostName": "luna", "enableFirewall": False, "hardware": {"memory": {"sizeGB": 8}}}, "flat"
    )
    assert result.version == "0"
    assert {
        "kind": "HostIdentity",
        "metadata": {"name": "host"},
        "spec": {"hostname": "luna"},
    } in result.manifests
    assert options(result)["firewall"] == {"networking": {"firewall": {"enable": False}}}
    assert outcome(result, "hardware.memory.sizeGB") is Outcome.CHANGED


def test_names_before_the_first_version() -> None:
    words = {
        "desktop": "plasma",
        "displayManager": "sddm",
        "session": "plasma",
        "cpu": "intel",
        "audio": "pipewire",
    }
    switches = {"profileModules": {"server": {"docker": True}}, "preflightChecks": True, "sshManager": False}
    result = translated({**words, **switches}, "flat")
    assert {row.outcome for row in result.rows} == {Outcome.TAKEN, Outcome.CHANGED}
    assert options(result)["desktop"]["services"]["desktopManager"]["plasma6"]["enable"] is True


def test_switches_of_the_first_version() -> None:
    switches = {
        "development": {"virtualization": True, "web": False},
        "server": {"docker": True},
        "other": True,
    }
    for desktop, names in ((True, {"qemu-vm", "virt-manager", "docker"}), (False, {"qemu-vm", "docker"})):
        result = translated({"packageModules": switches, "desktop": {"enable": desktop}}, "flat")
        assert {i["metadata"]["name"] for i in result.manifests if i["kind"] == "PackageSet"} == names
        assert outcome(result, "packageModules.other") is Outcome.REFUSED
        assert outcome(result, "packageModules.development.web") is Outcome.TAKEN


@pytest.mark.parametrize(
    ("value", "layout", "root"),
    [
        ({"packageModules": {"server": {"docker": True}}}, "flat", True),
        ({"core": {"base": {"packages": {"packageModules": ["docker"]}}}}, "nested", False),
        (
            {"core": {"base": {"packages": {"packageModules": ["docker"], "docker": {"root": True}}}}},
            "nested",
            True,
        ),
        (
            {"core": {"base": {"packages": {"packageModules": ["docker"], "docker": {"root": False}}}}},
            "split",
            False,
        ),
        ({"core": {"base": {"packages": {"packageModules": ["docker-rootless"]}}}}, "split", False),
        (
            {
                "core": {"base": {"packages": {"docker": {"enable": True, "root": None}}}},
                "modules": {"infrastructure": {"homelab-manager": {"swarm": "manager"}}},
            },
            "nested",
            True,
        ),
    ],
)
def test_docker_runs_as_it_did(value: dict[str, Any], layout: str, root: bool) -> None:
    found = options(translated(value, layout))["packages"]["virtualisation"]["docker"]
    assert ("enable" in found) is root
    assert ("rootless" in found) is not root


def test_what_is_off_is_no_loss() -> None:
    parts = {
        "nixify": {"enable": False, "port": 1, "scan": {"enable": True}},
        "other": {"enable": True, "x": 1},
    }
    result = translated({"modules": {"specialized": parts}})
    outcomes = {row.key.removeprefix("modules.specialized."): row.outcome for row in result.rows}
    assert {name for name, one in outcomes.items() if one is Outcome.REFUSED} == {"other.enable", "other.x"}


def test_a_key_twice_tells_which_one_wins() -> None:
    files = [
        File("/old.nix", (), json.dumps(tagged({"hostName": "old"}))),
        File("/new.nix", ("core", "base", "network"), json.dumps(tagged({"hostName": "new"}))),
    ]
    result = translate("split", files)
    assert outcome(result, "hostName") is Outcome.REFUSED
    assert outcome(result, "core.base.network.hostName") is Outcome.TAKEN
    assert result.manifests[0]["spec"] == {"hostname": "new"}


def test_stacks_are_kept_in_the_report_without_their_secrets() -> None:
    compose = (
        "services:\n  db:\n    environment:\n      POSTGRES_PASSWORD: hunter2\n      - API_KEY=abcdef\n"
        "      url: postgres://u:pa55@db/x\n      TZ: UTC\n"
    )
    stacks = [{"name": "a", "compose": compose, "env": "/a/.env"}, {"name": "b", "compose": "/b.yml"}]
    manager = {"enable": True, "stacks": stacks}
    value = {"modules": {"infrastructure": {"homelab-manager": manager}}}
    result = translate(
        "nested", [File("/c.nix", (), json.dumps(tagged(value)))], texts={"/b.yml": "services: {}\n"}
    )
    rows = {row.key: row for row in result.rows}
    first = rows["modules.infrastructure.homelab-manager.stacks[0].compose"]
    assert first.outcome is Outcome.REFUSED
    assert "TZ: UTC" in first.text
    assert rows["modules.infrastructure.homelab-manager.stacks[1].compose"].text == "services: {}\n"
    told = json.dumps(result.as_dict())
    assert not [secret for secret in ("hunter2", "abcdef", "pa55") if secret in told]


@pytest.mark.parametrize(
    ("tag", "what"), [("lambda", "a function"), ("list", "a list"), ("string", "a string")]
)
def test_a_file_that_is_no_set(tag: str, what: str) -> None:
    with pytest.raises(InvalidRequest, match=f"/c.nix:1 is {what}"):
        translate("flat", [File("/c.nix", (), json.dumps([tag, []]))])


def test_nested_too_deep() -> None:
    for depth in (250, 5_000):
        text = '["set",[["a",null,' * depth + '["int",1]' + "]]]" * depth
        with pytest.raises(InvalidRequest, match="deep"):
            translate("flat", [File("/c.nix", (), text)])


# Generated configurations: known names with right and wrong values, and unknown ones anywhere.
SECRET = "s3cr3t-" * 3
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.sampled_from(
        ["", "admin", "local", "public", "plasma", "nvidia", "docker", "10.0.0.0/8", "zsh", "/x", "grub"]
    ),
    st.text(max_size=8),
    st.lists(st.one_of(st.text(max_size=5), st.integers(0, 9)), max_size=3),
)
WORDS = """core base management modules system-manager network user users packages desktop hardware localization audio
boot firewall services exposure ssh nginx wifi networks Home psk pskFile role defaultShell autoLogin eve bob
initialPassword hostName trustedNetworks enable packageModules systemPackages userPackages docker root features
infrastructure homelab-manager stacks compose env name vm testing fedora memory cores image size path remote
displayPort overrides enableSSH sudo timeout requirePassword system channel bootloader version configVersion
layout cpu gpu ram sizeGB memory timeZone locales keyboardLayout keyboardOptions display manager server
session theme dark allowUnfree systemType email domain certEmail banner security ssh-server-manager
development gaming virtualization homelab enablePowersave networkManager dns enableFirewall"""
names = st.one_of(
    st.sampled_from(WORDS.split()),
    st.text(min_size=1, max_size=5),
)
known_paths = st.sampled_from(
    [
        "users.eve.role users.eve.initialPassword users.eve.autoLogin core.base.user.eve.defaultShell",
        "core.base.network.wifi.networks.Home.psk core.base.network.services.ssh.exposure hostName timeZone",
        "modules.infrastructure.vm.testing.fedora.vm.memory modules.infrastructure.vm.testing.fedora.vm.cores",
        "modules.infrastructure.homelab-manager.stacks modules.infrastructure.homelab-manager.enable",
        "core.base.desktop.enable core.base.desktop.environment core.base.desktop.display.manager desktop.audio",
        "core.base.packages.packageModules packageModules.server.docker core.base.packages.docker.root",
        "core.base.hardware.gpu hardware.memory.sizeGB core.base.hardware.ram.sizeGB system.bootloader",
    ]
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.dictionaries(names, inner, max_size=5), st.lists(inner, max_size=3)),
    max_leaves=25,
)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    value: dict[str, Any] = draw(st.dictionaries(names, trees, max_size=6))
    for path in draw(known_paths).split():
        parts = path.split(".")
        inner = value
        for part in parts[:-1]:
            if not isinstance(inner.get(part), dict):
                inner[part] = {}
            inner = inner[part]
        inner[parts[-1]] = draw(trees)
    return value


@given(configurations(), st.sampled_from(["flat", "nested", "split"]))
@example({}, "flat")
@example({"hostName": {}, "users": {"eve": {"role": []}}}, "flat")
def test_every_key_is_spoken_of_exactly_once(value: dict[str, Any], layout: str) -> None:
    result = translated(value, layout)
    there = Counter(dotted(leaf.path) for leaf in leaves(tagged(value)))
    assert Counter(row.key for row in result.rows) == there
    for row in result.rows:
        assert row.outcome is Outcome.TAKEN or row.why, row
    for item in result.manifests:
        assert to_yaml(item)


@given(configurations(), st.sampled_from(["initialPassword", "password", "hashedPassword"]))
def test_secrets_never_land_anywhere(value: dict[str, Any], field: str) -> None:
    value["users"] = {"eve": {"role": "admin", field: SECRET}, "bob": {"role": "?", field: SECRET}}
    value["core"] = {
        "base": {"network": {"wifi": {"networks": {"Home": {"psk": SECRET}, "B": {"psk": [SECRET]}}}}}
    }
    value["modules"] = {"system": {"lock": {"encryption": {"fido2": {"pin": SECRET}}}}}
    result = translated(value, "flat")
    assert SECRET not in json.dumps([result.as_dict(), result.manifests])


def test_every_option_exists_and_takes_the_value(require: Any) -> None:
    index = nixos_options.types()
    holders = {".".join(parts[:length]) for parts in map(_parts, index) for length in range(1, len(parts))}
    free = tuple(f"{name}." for name, sort in index.items() if sort.startswith("attribute set of"))
    wrong, right = set(), set()

    def look(topic: str, path: tuple[str, ...], value: Any) -> None:
        name = ".".join(_generic(path))
        if name in index and (name not in holders or not isinstance(value, dict)):
            (right if grammar.parse(index[name]).takes(value) else wrong).add((topic, name, str(value)))
        elif isinstance(value, dict):
            for part, inner in value.items():
                look(topic, (*path, part), inner)
        elif not name.startswith(free):
            wrong.add((topic, name, "no such option"))

    for result in everything():
        for topic, value in options(result).items():
            look(topic, (), value)
    assert not wrong
    assert len(right) > 100


def _parts(name: str) -> list[str]:
    return name.split(".")


def _generic(path: tuple[str, ...]) -> list[str]:
    """The path as the index writes it: `_name_` for what the owner names."""
    parts = list(path)
    if parts[:2] in (["users", "users"], ["users", "groups"]) and len(parts) > 2:
        parts[2] = "_name_"
    return parts


def everything() -> list[Import]:
    """Configurations that use every choice there is."""
    from cli.predecessor import desktop, packages, users

    base: dict[str, Any] = {
        "user": {
            f"u{n}": {"role": role, "defaultShell": shell, "autoLogin": True}
            for n, (role, shell) in enumerate(
                (r, s) for r in users.ROLES for s in ("bash", "zsh", "fish", "xonsh")
            )
        },
        "network": {
            "hostName": "a",
            "firewall": {"enable": True, "trustedNetworks": ["10.0.0.0/8"]},
            "services": {"ssh": {"exposure": "local"}, "plex": {"exposure": "public"}},
            "networkManager": {"dns": "none"},
            "enablePowersave": True,
            "wifi": {"networks": {"h": {"psk": "x", "autoconnect": True, "priority": 1}}},
        },
        "localization": {
            "locales": ["de_DE.UTF-8"],
            "keyboardLayout": "de",
            "keyboardOptions": "x",
            "timeZone": "UTC",
        },
        "packages": {"packageModules": list(packages.MODULES), "docker": {"enable": True, "root": False}},
    }
    results = []
    tables = (
        ("boot", "bootloader", desktop._BOOT),
        ("audio", "system", desktop._AUDIO),
        ("hardware", "cpu", desktop._CPU),
        ("hardware", "gpu", desktop._GPU),
        ("desktop", "environment", desktop._ENVIRONMENT),
    )
    for section, key, table in tables:
        for choice in table:
            results.append(translated({"core": {"base": {**base, section: {key: choice}}}}))
    for manager in desktop._MANAGER:
        display = {"manager": manager, "server": "x11", "session": "s"}
        results.append(
            translated({"core": {"base": {**base, "desktop": {"enable": True, "display": display}}}})
        )
    more = {
        "sudo": {"requirePassword": True, "timeout": 5},
        "overrides": {"enableSSH": True, "enableSteam": True},
        "certEmail": "a@b.c",
        "allowUnfree": True,
        "modules": {
            "infrastructure": {"vm": {"enable": True}},
            "security": {"ssh-server-manager": {"enable": True, "banner": "hello"}},
        },
    }
    return [*results, translated(more)]


def test_what_is_written_is_a_manifest() -> None:
    """Each document of a kind that this version has is read as a manifest without a word."""
    kinds = Kinds.offline()
    documents = [item for result in everything() for item in result.manifests if kinds.get(item["kind"])]
    assert {"HostIdentity", "PackageSet"} <= {item["kind"] for item in documents}
    machine = {
        "memory": 4096,
        "cores": 2,
        "image": {"size": 40},
        "remote": {"enable": True, "displayPort": 5901},
    }
    vm = {"enable": True, "testing": {"fedora": {"vm": machine}}}
    result = translated(
        {
            "modules": {"infrastructure": {"vm": vm}},
            "core": {"base": {"packages": {"systemPackages": ["a.b"]}}},
        }
    )
    documents += [item for item in result.manifests if item["kind"] in ("VirtualMachine", "Package")]
    for document in documents:
        assert parse(to_yaml(document), kinds), document


def merged(result: Import) -> Any:
    """The options of the next generation, once its manifests are applied."""
    renderings = Renderings()
    for item in result.manifests:
        if item["kind"] == "NixosOptions":
            text = json.dumps(item["spec"]["options"], sort_keys=True)
            renderings.resources.add(kind=item["kind"], name=item["metadata"]["name"], options_json=text)
    return json.loads(desired.merge(renderings).text)["options"]


def test_what_is_written_makes_one_generation() -> None:
    # The last one has no users.
    for result in everything()[:-1]:
        assert merged(result)["users"]["users"]["u0"]["isNormalUser"] is True


@given(configurations())
def test_no_configuration_makes_options_that_contradict_each_other(value: dict[str, Any]) -> None:
    result = translated(value)
    assert merged(result).keys() == {name for item in options(result).values() for name in item}
