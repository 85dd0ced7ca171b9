"""Facts, vital signs and the question of a restart, from this machine and from made-up ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from common.errors import Unsupported
from services.system.drivers.linux_host import LinuxHostDriver

MEMINFO = (
    "MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    400 kB\nSwapTotal:  0 kB\nSwapFree: 0 kB\n"
)


def driver(root: Path, **more: Path) -> LinuxHostDriver:
    return LinuxHostDriver(root, lambda: ["a.service"], **more)


def test_this_machine() -> None:
    host = driver(Path("/"))
    facts, vitals = host.facts(), host.vitals()
    assert facts.hostname == os.uname().nodename
    assert facts.kernel == os.uname().release
    assert 0 < facts.boot_time < time.time()
    assert facts.memory == vitals.memory_total > 1 << 20
    root = next(disk for disk in vitals.file_systems if disk.mount_point == "/")
    status = os.statvfs("/")
    assert root.total == status.f_blocks * status.f_frsize
    assert vitals.failed_units == ("a.service",)
    assert len(vitals.load) == 3
    assert host.reboot_state().running_kernel == os.uname().release


def test_nixos(tmp_path: Path) -> None:
    etc, profiles = tmp_path / "etc", tmp_path / "nix/var/nix/profiles"
    etc.mkdir()
    profiles.mkdir(parents=True)
    (etc / "os-release").write_text('ID=nixos\nVERSION_ID="24.11"\nPRETTY_NAME="NixOS 24.11 (Vicuna)"\n')
    (etc / "machine-id").write_text("0123\n")
    (profiles / "system").symlink_to("system-42-link")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/current-system").symlink_to("/nix/store/x-nixos-system")
    facts = driver(tmp_path).facts()
    assert (facts.os, facts.os_version, facts.os_name) == ("nixos", "24.11", "NixOS 24.11 (Vicuna)")
    assert (facts.nixos, facts.generation, facts.machine_id) == (True, 42, "0123")
    assert facts.current_system == "/nix/store/x-nixos-system"


def test_made_up_proc(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    (proc / "pressure").mkdir(parents=True)
    (proc / "self").mkdir()
    (proc / "meminfo").write_text(MEMINFO)
    line = "avg10=1.50 avg60=2.25 avg300=3.00 total=9\n"
    (proc / "pressure/memory").write_text(f"some {line}full {line}")
    (proc / "pressure/cpu").write_text(f"some {line}")
    odd = tmp_path / "a b"
    odd.mkdir()
    escaped = str(odd).replace(" ", "\\040")
    (proc / "self/mounts").write_text(
        f"/dev/x {escaped} ext4 ro,relatime 0 0\n/dev/x / ext4 rw 0 0\nproc /proc proc rw 0 0\n"
        "host:/export /mnt nfs4 rw 0 0\n/dev/y /gone ext4 rw 0 0\n"
    )
    vitals = driver(tmp_path, proc=proc).vitals()
    assert (vitals.memory_total, vitals.memory_available) == (1000 * 1024, 400 * 1024)
    assert [(p.resource, p.some, p.full) for p in vitals.pressures] == [
        ("cpu", (1.5, 2.25, 3.0), (0.0, 0.0, 0.0)),
        ("memory", (1.5, 2.25, 3.0), (1.5, 2.25, 3.0)),
    ]
    assert [(disk.mount_point, disk.read_only) for disk in vitals.file_systems] == [(str(odd), True)]
    assert [text.partition(":")[0] for text in vitals.unknown] == ["disk /mnt", "disk /gone"]


def test_what_cannot_be_measured_is_told(tmp_path: Path) -> None:
    def failed() -> list[str]:
        raise Unsupported("systemd is not running here")

    vitals = LinuxHostDriver(tmp_path, failed, proc=tmp_path).vitals()
    assert [text.partition(":")[0] for text in vitals.unknown] == ["failed units", "pressure"]


@pytest.mark.parametrize("same", [True, False])
def test_restart_on_nixos(tmp_path: Path, same: bool) -> None:
    for system, kernel in (("booted-system", "one"), ("current-system", "one" if same else "two")):
        store = tmp_path / f"store-{system}"
        store.mkdir()
        for part in ("kernel", "initrd", "kernel-modules"):
            target = tmp_path / f"{part}-{kernel if part == 'kernel' else 'same'}"
            target.touch()
            (store / part).symlink_to(target)
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / system).symlink_to(store)
    assert driver(tmp_path).reboot_state().changed_parts == (() if same else ("kernel",))


def test_restart_on_debian(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert not driver(tmp_path).reboot_state().requested
    (tmp_path / "run/reboot-required").write_text("*** System restart required ***\n")
    (tmp_path / "run/reboot-required.pkgs").write_text("libc6\nlinux-image\nlibc6\n")
    state = driver(tmp_path).reboot_state()
    assert (state.requested, state.requested_by) == (True, ("libc6", "linux-image"))


@pytest.mark.parametrize(
    ("running", "installed", "newest"),
    [
        ("6.1.0-18-amd64", ["6.1.0-9-amd64", "6.1.0-18-amd64", "6.1.0-26-amd64"], "6.1.0-26-amd64"),
        ("6.1.0-18-cloud-amd64", ["6.1.0-18-cloud-amd64", "6.1.0-26-amd64"], "6.1.0-18-cloud-amd64"),
        ("6.12.9+deb12-amd64", ["6.12.9+deb12-amd64", "6.1.0-26-amd64"], "6.12.9+deb12-amd64"),
        ("6.18.44-fc-v657", ["6.1.0-26-amd64"], ""),
        ("6.6.63", ["6.6.63", "6.6.7"], "6.6.63"),
    ],
)
def test_newest_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: str, installed: list[str], newest: str
) -> None:
    (tmp_path / "boot").mkdir()
    for release in installed:
        (tmp_path / f"boot/vmlinuz-{release}").touch()
    real = os.uname()
    uname = os.uname_result((real.sysname, real.nodename, running, real.version, real.machine))
    monkeypatch.setattr(os, "uname", lambda: uname)
    assert driver(tmp_path).reboot_state().installed_kernel == newest
