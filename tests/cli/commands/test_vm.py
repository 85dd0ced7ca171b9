"""`ncc vm` and `ncc import vm` on libvirt's test driver."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from daemons import until


def _state(ncc: Any) -> str:
    return next(row["state"] for row in ncc.json("vm")["items"] if row["name"] == ncc.name)


def test_starting_and_stopping_changes_what_is_declared(ncc: Any) -> None:
    ncc.apply(ncc.vm())

    said = ncc.out("vm", "stop", ncc.name, "--wait").splitlines()
    assert said == [
        f"VirtualMachine/{ncc.name} configured: running: false",
        f"VirtualMachine/{ncc.name} ready",
    ]
    assert ncc.item("VirtualMachine")["spec"]["running"] is False
    assert _state(ncc) != "RUNNING"

    ncc.out("vm", "start", ncc.name, "--wait")
    assert _state(ncc) == "RUNNING"
    assert ncc.name in ncc.out("vm", "list")
    assert yaml.safe_load(ncc.out("vm", "get", ncc.name))["name"] == ncc.name
    ncc.out("vm", "reboot", ncc.name)
    until(lambda: _state(ncc) == "RUNNING")


def test_snapshots(ncc: Any) -> None:
    ncc.apply(ncc.vm())

    def names() -> list[str]:
        return [row["name"] for row in ncc.json("vm", "snapshot", ncc.name)["items"]]

    ncc.out("vm", "snapshot", ncc.name, "create", "before")
    assert names() == ["before"]
    assert "*before" in ncc.out("vm", "snapshot", ncc.name, "list")
    assert " done " in ncc.out("vm", "snapshot", ncc.name, "revert", "before")
    ncc.out("vm", "snapshot", ncc.name, "delete", "before")
    assert names() == []
    again = ncc.run("vm", "snapshot", ncc.name, "delete", "before")
    assert again.returncode == 5
    assert "\n  → " in again.stderr
    assert ncc.run("vm", "snapshot", ncc.name, "frobnicate").returncode == 2


def test_a_console_where_the_hypervisor_has_none(ncc: Any) -> None:
    ncc.apply(ncc.vm())

    done = ncc.run("vm", "console", ncc.name)

    assert done.returncode == 1
    assert "not supported" in done.stderr
    assert "\n  → " in done.stderr


def test_the_hypervisor(ncc: Any) -> None:
    assert ncc.json("vm", "hypervisor")["uri"] == "test:///default"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("start",), 2),
        (("start", "absent"), 5),
        (("get", "absent"), 5),
        (("reboot", "absent"), 5),
        (("reset", "absent"), 5),
        (("stats", "absent"), 5),
        (("snapshot", "absent", "create", "x"), 5),
        (("console", "absent"), 5),
    ],
)
def test_machines_that_are_not_there(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run("vm", *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("ncc vm: ")
    assert "→" in done.stderr


def test_a_machine_that_nobody_declared_is_adopted_as_it_is(ncc: Any) -> None:
    assert "VirtualMachine/test" in ncc.out("import", "vm", "-o", "name").split()
    before = ncc.json("vm", "get", "test")
    manifest = ncc.out("import", "vm", "test")

    diff = ncc.run("diff", "-f", "-", "-o", "json", stdin=manifest)
    assert yaml.safe_load(diff.stdout)["items"][0]["host"] == "unchanged"
    ncc.out("apply", "-f", "-", "--wait", stdin=manifest)

    assert ncc.run("diff", "-f", "-", stdin=manifest).returncode == 0
    assert "VirtualMachine/test" not in ncc.out("import", "vm", "-o", "name").split()
    assert ncc.json("vm", "get", "test") == before
    assert {event["reason"] for event in ncc.json("events", "vm", "test")["items"]} <= {"Adopted"}
    ncc.out("delete", "vm", "test", "--orphan", "--wait")
    assert "test" in [row["name"] for row in ncc.json("vm")["items"]]


def test_importing_what_is_not_there(ncc: Any) -> None:
    done = ncc.run("import", "vm", "absent")

    assert (done.returncode, done.stdout) == (5, "")
    assert "\n  → " in done.stderr
    assert ncc.run("import", "file").returncode == 1, "files can't be enumerated"
