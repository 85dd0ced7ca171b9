"""How programs are started, word for word, and what opening a window refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from common.errors import Conflict
from services.system.drivers import guard_control, guard_journal
from services.system.drivers.guard_control import Windows


def test_switch_to_configuration_is_started_as_nixos_rebuild_does() -> None:
    assert guard_journal.switch_argv("/nix/store/x", "test", systemd=True) == [
        "systemd-run",
        "-E",
        "LOCALE_ARCHIVE",
        "-E",
        "NIXOS_INSTALL_BOOTLOADER",
        "--collect",
        "--no-ask-password",
        "--pipe",
        "--quiet",
        "--service-type=exec",
        "--unit=nixos-rebuild-switch-to-configuration",
        "/nix/store/x/bin/switch-to-configuration",
        "test",
    ]
    assert guard_journal.switch_argv("/nix/store/x", "boot", systemd=False) == [
        "/nix/store/x/bin/switch-to-configuration",
        "boot",
    ]


def test_the_guard_has_a_unit_of_its_own_where_systemd_runs(tmp_path: Path) -> None:
    environment = {"PATH": "/bin", "NIX_STORE_DIR": "/s", "SECRET": "x", "NCC_SOCKET": "/y"}
    program = [
        sys.executable,
        "-I",
        "-S",
        str(Path(guard_control.__file__).with_name("guard_start.py")),
        str(tmp_path),
    ]

    direct = guard_control.guard_argv(tmp_path, "0123456789abcdef", environment, systemd=False)
    unit = guard_control.guard_argv(tmp_path, "0123456789abcdef", environment, systemd=True)

    assert direct == program
    assert unit[0] == "systemd-run"
    assert unit[-len(program) :] == program
    assert any(word.startswith("--unit=nixcc-guard-0123456789ab-") for word in unit)
    assert [unit[i + 1] for i, word in enumerate(unit) if word == "-E"] == ["NIX_STORE_DIR", "PATH"]
    assert not any(word == "x" or "SECRET" in word for word in unit)


def test_only_one_may_prepare(tmp_path: Path) -> None:
    windows = Windows(tmp_path / "w", tmp_path, tmp_path / "profile")
    with (
        windows.preparing(),
        pytest.raises(Conflict, match="being prepared"),
        Windows(tmp_path / "w", tmp_path, tmp_path / "profile").preparing(),
    ):
        pass
    with windows.preparing():
        assert windows.last() is None


def test_the_first_verdict_counts(tmp_path: Path) -> None:
    row = {"id": "a"}

    assert guard_journal.read_verdict(str(tmp_path), row) is None
    assert guard_journal.decide(str(tmp_path), row, guard_journal.COMMIT, "yes") == ("COMMIT", "yes")
    assert guard_journal.decide(str(tmp_path), row, guard_journal.REVERT, "no") == ("COMMIT", "yes")
    assert guard_journal.decide(str(tmp_path), {"id": "b"}, guard_journal.REVERT, "no") == ("REVERT", "no")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["verdict-a", "verdict-b"]
