from __future__ import annotations

import json

import pytest

from cli.kinds import Kinds
from cli.main import main
from cli.reference import ENVELOPE, tree
from common.schema import SpecType


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["explain", *arguments]) == 0
    return capsys.readouterr().out


def as_json(capsys: pytest.CaptureFixture[str], path: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(explained(capsys, path, "-o", "json"))
    return found


def test_lists_every_kind_without_a_daemon(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCC_SOCKET", "/nonexistent/nixcc.sock")

    shown = explained(capsys)

    for name in Kinds.offline().names():
        assert name in shown


@pytest.mark.parametrize("word", ["VirtualMachine", "vm", "virtualmachines", "VM"])
def test_tells_of_a_kind_by_any_of_its_names(capsys: pytest.CaptureFixture[str], word: str) -> None:
    shown = as_json(capsys, word)

    assert (shown["kind"], shown["service"], shown["identity"]) == ("VirtualMachine", "vm", "metadata.name")
    fields = shown["fields"]
    assert isinstance(fields, list)
    assert {"cpus", "memory", "disks"} <= {row["name"] for row in fields}


def test_tells_the_rules_and_the_comment_of_a_field(capsys: pytest.CaptureFixture[str]) -> None:
    shown = as_json(capsys, "File.spec.path")

    assert shown["type"] == "text"
    assert shown["rules"] == ["required", "at most 4095 bytes", "changing it replaces the object"]
    assert str(shown["description"]).startswith("Where it is: absolute")


def test_tells_of_units_defaults_and_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "File.spec.mode")["rules"] == ['written like "0644"']
    assert as_json(capsys, "File.spec.data")["type"] == "bytes in base64"
    assert "default false" in str(as_json(capsys, "File.spec.directory")["rules"])
    memory = as_json(capsys, "vm.spec.memory")
    assert memory["type"] == "size in bytes"
    assert memory["rules"] == ["written like 512MiB", "at least 1MiB", "at most 16TiB"]
    assert "secret: masked in every output" in str(as_json(capsys, "vm.spec.cloud_init.user_data")["rules"])


def test_tells_of_lists_their_elements_and_references(capsys: pytest.CaptureFixture[str]) -> None:
    disks = as_json(capsys, "VirtualMachine.spec.disks")
    assert disks["type"] == "list of Disk"
    assert "elements are told apart by target, order does not matter" in str(disks["rules"])
    assert as_json(capsys, "VirtualMachine.spec.disks[0].size") == as_json(capsys, "vm.spec.disks.size")
    volume = as_json(capsys, 'vm.spec.disks["v.d]a"].volume')
    assert "names a StorageVolume, which must be ready first" in str(volume["rules"])


def test_tells_the_values_of_an_enum_as_manifests_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    shown = as_json(capsys, "vm.policy.drift")

    assert shown["values"] == {"ENFORCE": "Put the host back.", "OBSERVE": "Only tell."}


@pytest.mark.parametrize(
    "section", ["metadata.labels", "policy.suspend_until", "status.conditions.reason", "kind"]
)
def test_tells_what_stands_around_a_spec(capsys: pytest.CaptureFixture[str], section: str) -> None:
    assert explained(capsys, f"File.{section}").startswith(f"File.{section}: ")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("VirtualMachin", "did you mean VirtualMachine?"),
        ("xyzzyxyzzy", "ncc explain lists the kinds"),
        ("vm.spec.disk", "did you mean VirtualMachine.spec.disks?"),
        ("vm.disks", "did you mean VirtualMachine.spec.disks?"),
        ("vm.spek", "did you mean VirtualMachine.spec?"),
        ("vm.spec.", "it has cpus, memory"),
        ("vm.spec.cpus.more", "VirtualMachine.spec.cpus has no fields of its own"),
        (".", "ncc explain lists the kinds"),
    ],
)
def test_unknown_paths_are_not_found_and_get_a_hint(
    capsys: pytest.CaptureFixture[str], path: str, hint: str
) -> None:
    assert main(["explain", path]) == 5

    shown = capsys.readouterr()
    assert shown.out == ""
    assert hint in shown.err


def test_every_field_of_every_kind_can_be_explained_and_has_a_comment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    count = 0
    for info in Kinds.offline():
        parts = {"spec": info.message.DESCRIPTOR, **{name: cls.DESCRIPTOR for name, cls in ENVELOPE.items()}}
        for part, descriptor in parts.items():
            if part != "spec" and info.name != "File":
                continue
            for row in tree(SpecType.of(descriptor), f"{info.name}.{part}"):
                assert row.description, f"{row.path} has no comment"
                assert row.path in explained(capsys, row.path)
                count += 1
    assert count > 100
