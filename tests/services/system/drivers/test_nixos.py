"""What a host has, read from real profiles and a real store."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from common.errors import NotFound, WrongState
from script_systems import ScriptHost
from services.system.generation.models import UnitChanges

pytestmark = pytest.mark.host


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Any) -> ScriptHost:
    require(binary="nix")
    made = ScriptHost(tmp_path)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def test_generations_with_all_facts(host: ScriptHost) -> None:
    first = host.install(host.system("a"))
    kernel = host.folder / "linux/bzImage"
    (kernel.parent / "lib/modules/6.12.8").mkdir(parents=True)
    kernel.touch()
    tree = host.tree("b")
    (tree / "kernel").unlink()
    (tree / "kernel").symlink_to(kernel)
    (tree / "specialisation/gaming").mkdir(parents=True)
    (tree / "sw/bin").mkdir(parents=True)
    program = tree / "sw/bin/nixos-version"
    program.write_text("#!/bin/sh\n[ $1 = --configuration-revision ] && echo 0123abc\n")
    program.chmod(0o755)
    second = host.add(tree)
    host.nix("nix-env", "-p", str(host.driver.profile), "--set", second)

    newest, oldest = host.driver.generations()

    assert (newest.number, newest.nixos_version, newest.kernel_version) == (2, "26.05.b", "6.12.8")
    assert (newest.configuration_revision, newest.specialisations) == ("0123abc", ("gaming",))
    assert (newest.current, newest.running, newest.booted) == (True, False, False)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", newest.date)
    assert (oldest.number, oldest.kernel_version, oldest.configuration_revision) == (1, "Unknown", "Unknown")
    assert (oldest.current, oldest.running, oldest.booted) == (False, True, True)
    assert host.driver.generation(0) == first
    assert host.driver.generation(2) == second
    with pytest.raises(NotFound):
        host.driver.generation(3)


def test_other_profiles(host: ScriptHost) -> None:
    toplevel = host.install(host.system("a"))
    folder = host.root / "nix/var/nix/profiles/system-profiles"
    folder.mkdir()
    host.nix("nix-env", "-p", str(folder / "try"), "--set", toplevel)

    assert [one.number for one in host.driver.generations("try")] == [1]
    for name in ("absent", "../system", "a/b"):
        with pytest.raises(NotFound):
            host.driver.generations(name)


def test_a_host_without_anything(host: ScriptHost) -> None:
    driver = host.driver

    assert (driver.running(), driver.booted(), driver.default(), driver.number()) == ("", "", "", 0)
    assert driver.generations() == []
    with pytest.raises(NotFound):
        driver.generation(0)


def test_what_dry_activate_says(host: ScriptHost) -> None:
    assert host.driver.dry_activate(host.system("a")) == UnitChanges(
        stop=("old.service", "gone.service"), start=("new.service",)
    )


def test_closures_have_sizes(host: ScriptHost) -> None:
    toplevel = host.system("a")

    closure = host.driver.closure(toplevel)

    assert list(closure) == [toplevel]
    assert closure[toplevel] > 500


def test_a_new_kernel_needs_a_restart_and_space_in_boot(host: ScriptHost) -> None:
    old = host.install(host.system("a"))
    tree = host.tree("b")
    (tree / "kernel").unlink()
    (tree / "kernel").write_bytes(b"k" * 3_000_000)
    (tree / "initrd").write_bytes(b"i" * 1_000_000)
    new = host.add(tree)

    assert len(host.driver.reboot_reasons(new)) == 2
    assert "kernel" in host.driver.reboot_reasons(new)[0]
    assert host.driver.reboot_reasons(old) == ()
    assert host.driver.boot_needed(new) == 4_000_000
    host.nix("nix-env", "-p", str(host.driver.profile), "--set", new)
    assert host.driver.boot_needed(new) == 0, "a generation has brought them there"
    assert (host.driver.boot_free() or 0) > 0


def test_inhibitors_are_keys_that_both_have(host: ScriptHost) -> None:
    old = json.dumps({"dbus": "broker", "init": "1", "gone": "x"})
    new = json.dumps({"dbus": "daemon", "init": "1", "new": "y"})
    host.install(host.system("a", switch__inhibitors=old))

    assert host.driver.inhibitors(host.system("b", switch__inhibitors=new)) == (
        "dbus changes from broker to daemon",
    )
    assert host.driver.inhibitors(host.system("c")) == ()
    with pytest.raises(WrongState, match="switch-inhibitors"):
        host.driver.inhibitors(host.system("d", switch__inhibitors="{"))


def test_what_is_protected_survives_a_collection(host: ScriptHost) -> None:
    kept, lost = host.system("a"), host.system("b")
    host.driver.protect("old", kept)

    host.nix("nix-store", "--gc")

    assert os.path.exists(kept)
    assert not os.path.exists(lost)
