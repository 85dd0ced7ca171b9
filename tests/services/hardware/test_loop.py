"""Declared, made so, undone behind its back, put back: with the real reconciler on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from nixcc.hardware.v1 import kinds_pb2
from plane import eventually, plane, resource
from services.hardware import create

pytestmark = pytest.mark.host


def _mounted(point: Path) -> bool:
    return any(
        line.split()[4] == str(point) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )


def _swapping(path: Path) -> bool:
    return any(line.split()[0] == str(path) for line in Path("/proc/swaps").read_text().splitlines())


async def test_a_mount_and_a_swap_file_are_kept(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    require(binary="mount")
    require(binary="swapon")
    point, file = tmp_path / "scratch", tmp_path / "swapfile"
    mount = kinds_pb2.Mount(mount_point=str(point), source="scratch", fs_type="tmpfs")
    mount.options.values.extend(["size=1m", "nosuid"])
    swap = kinds_pb2.Swap(path=str(file), size=2 << 20, priority=3)
    async with plane(tmp_path, {"hardware": create}, root=Path("/")) as started:
        try:
            await started.apply(resource(mount, "scratch"), resource(swap, "swap"))
            await started.until_ready("Mount", "scratch")
            await started.until_ready("Swap", "swap")
            assert _mounted(point)
            assert _swapping(file)
            subprocess.run(["umount", str(point)], check=True)
            await eventually(lambda: _mounted(point))
            subprocess.run(["swapoff", str(file)], check=True)
            await eventually(lambda: _swapping(file))
            await started.until_ready("Mount", "scratch")
            await started.until_ready("Swap", "swap")
            subprocess.run(["mount", "-o", "remount,ro", str(point)], check=True)
            await eventually(lambda: b" ro," not in _line(point))
        finally:
            await started.delete("Mount", "scratch")
            await started.delete("Swap", "swap")
            await started.until_gone("Mount", "scratch")
            await started.until_gone("Swap", "swap")
    assert not _mounted(point)
    assert not _swapping(file)
    assert not point.exists()
    assert not file.exists()


def _line(point: Path) -> bytes:
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    return next(line for line in lines if line.split()[4] == str(point).encode())


async def test_a_confined_daemon_says_that_it_can_not(tmp_path: Path) -> None:
    swap = kinds_pb2.Swap(path="/swapfile", size=2 << 20)
    async with plane(tmp_path, {"hardware": create}) as started:
        await started.apply(resource(swap, "swap"))
        found = await started.until(
            "Swap", "swap", lambda r: any(c.reason == "Unsupported" for c in r.status.conditions)
        )
        messages = [c.message for c in found.status.conditions if c.reason == "Unsupported"]
        assert "can't be kept within" in messages[0]
        await started.delete("Swap", "swap")
        await started.until_gone("Swap", "swap")
