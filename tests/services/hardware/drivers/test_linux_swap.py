"""The real swap driver on this machine: files, a partition (a loop device), zram."""

from __future__ import annotations

import os
import queue
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from common.errors import HostUnavailable, InvalidRequest, WrongState
from services.hardware.drivers import swap_files
from services.hardware.drivers.linux_swap import LinuxSwapDriver
from services.hardware.models.states import SwapState, SwapType, SwapWish

pytestmark = pytest.mark.host

MIB = 1 << 20


@pytest.fixture
def driver(tmp_path: Path, require: Callable[..., None]) -> Iterator[LinuxSwapDriver]:
    require(root=True)
    require(binary="swapon")
    driver = LinuxSwapDriver()
    require(when=not driver.unsupported(), reason=driver.unsupported())
    yield driver
    driver.close()
    for line in Path("/proc/swaps").read_text().splitlines()[1:]:
        if line.startswith(str(tmp_path)):
            subprocess.run(["swapoff", line.split()[0]], check=True)


def _quiet(message: str, percent: int | None) -> None:
    pass


def _read(driver: LinuxSwapDriver, path: str) -> SwapState | None:
    state = driver.read([path])[path]
    assert state is None or isinstance(state, SwapState)
    return state


def _file(path: str, size: int, priority: int | None = None, active: bool = True) -> SwapWish:
    return SwapWish(path, SwapType.FILE, size, priority, None, active)


def test_a_file_is_made_resized_and_removed(driver: LinuxSwapDriver, tmp_path: Path) -> None:
    path = str(tmp_path / "deep/swapfile")
    reports: list[str] = []
    assert (
        driver.set_up(_file(path, 4 * MIB, 7), lambda text, percent: reports.append(text))
        == "made, switched on"
    )
    assert reports
    assert _read(driver, path) == SwapState(path, SwapType.FILE, 4 * MIB, True, 7)
    status = os.stat(path)
    assert stat.S_IMODE(status.st_mode) == 0o600
    # No holes.
    assert status.st_blocks * 512 >= 4 * MIB
    assert driver.set_up(_file(path, 4 * MIB, 7), _quiet) == ""
    assert driver.set_up(_file(path, 4 * MIB, 9), _quiet) == "switched on"
    assert driver.set_up(_file(path, 8 * MIB, 9), _quiet) == "resized, switched on"
    assert _read(driver, path) == SwapState(path, SwapType.FILE, 8 * MIB, True, 9)
    assert path in driver.present()
    assert driver.set_up(_file(path, 8 * MIB, 9, active=False), _quiet) == "switched off"
    assert _read(driver, path) == SwapState(path, SwapType.FILE, 8 * MIB, False)
    assert driver.remove(path) is True
    assert not os.path.exists(path)
    assert driver.remove(path) is False
    assert os.listdir(tmp_path / "deep") == []


def test_a_file_of_somebody_else_is_used_but_never_resized_or_removed(
    driver: LinuxSwapDriver, tmp_path: Path
) -> None:
    path = str(tmp_path / "theirs")
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * MIB)
    os.chmod(path, 0o600)
    subprocess.run(["mkswap", path], check=True, capture_output=True)
    assert _read(driver, path) is None
    subprocess.run(["swapon", path], check=True)
    state = _read(driver, path)
    assert state is not None
    assert (state.size, state.active, state.priority) == (4 * MIB, True, None)
    with pytest.raises(WrongState, match="not made by this program"):
        driver.set_up(_file(path, 8 * MIB), _quiet)
    assert driver.remove(path) is True
    assert os.path.getsize(path) == 4 * MIB
    assert path not in Path("/proc/swaps").read_text()


def test_nothing_else_is_overwritten(driver: LinuxSwapDriver, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("letters")
    with pytest.raises(WrongState, match="not made by this program"):
        driver.set_up(_file(str(precious), 4 * MIB), _quiet)
    link = tmp_path / "link"
    link.symlink_to(precious)
    with pytest.raises(WrongState):
        driver.set_up(_file(str(link), 4 * MIB), _quiet)
    assert precious.read_text() == "letters"
    (tmp_path / "folder").symlink_to(tmp_path)
    with pytest.raises(InvalidRequest, match="symbolic link"):
        driver.set_up(_file(str(tmp_path / "folder/swap"), 4 * MIB), _quiet)


def test_a_full_disk_leaves_nothing_behind(driver: LinuxSwapDriver, tmp_path: Path) -> None:
    usage = os.statvfs(tmp_path)
    too_much = usage.f_bavail * usage.f_frsize // 4096 * 4096
    with pytest.raises(HostUnavailable, match="MiB left"):
        driver.set_up(_file(str(tmp_path / "swap"), too_much), _quiet)
    assert os.listdir(tmp_path) == []


def test_a_place_that_can_not_hold_swap_says_so(driver: LinuxSwapDriver, tmp_path: Path) -> None:
    point = tmp_path / "memory"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "scratch", str(point)], check=True)
    try:
        with pytest.raises(InvalidRequest, match="can't be swapped to"):
            driver.set_up(_file(str(point / "swap"), 4 * MIB), _quiet)
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_a_killed_run_is_taken_up(driver: LinuxSwapDriver, tmp_path: Path) -> None:
    path = str(tmp_path / "swap")
    (tmp_path / ".swap.nixcc").write_bytes(b"half-made")
    driver.set_up(_file(path, 4 * MIB), _quiet)
    subprocess.run(["swapoff", path], check=True)
    # As if it had been killed between making and switching on.
    assert _read(driver, path) == SwapState(path, SwapType.FILE, 4 * MIB, False)
    assert driver.set_up(_file(path, 4 * MIB), _quiet) == "switched on"
    driver.remove(path)
    assert os.listdir(tmp_path) == []


def test_a_partition_must_hold_a_signature_and_keeps_it(
    driver: LinuxSwapDriver, loop: Callable[..., Any]
) -> None:
    blank = loop().device
    wish = SwapWish(blank, SwapType.PARTITION, priority=3)
    with pytest.raises(WrongState, match="no swap signature"):
        driver.set_up(wish, _quiet)
    uuid = "0b1c2d3e-4f50-4162-8374-95a6b7c8d9e0"
    device = loop("mkswap", "--uuid", uuid).device
    for path in (device, f"UUID={uuid}"):
        wish = SwapWish(path, SwapType.PARTITION, priority=3)
        assert driver.set_up(wish, _quiet) == "switched on"
        state = _read(driver, path)
        assert state is not None
        assert (state.active, state.priority) == (True, 3)
        assert driver.set_up(wish, _quiet) == ""
        assert driver.remove(path) is True
        assert _read(driver, path) is None
    assert driver.set_up(SwapWish(device, SwapType.PARTITION), _quiet) == "switched on"
    assert driver.remove(device) is True


def test_compressed_memory(driver: LinuxSwapDriver, require: Callable[..., None]) -> None:
    control = Path("/sys/class/zram-control")
    require(when=control.exists(), reason="the kernel has no zram")
    before = set(os.listdir("/sys/block"))
    # A number that nobody else's device has: devices are made with the lowest free number.
    number = next(n for n in range(64) if f"zram{n}" not in before)
    path = f"/dev/zram{number}"
    wish = SwapWish(path, SwapType.ZRAM, 4 * MIB, 100, "lzo")
    try:
        assert _read(driver, path) is None
        assert driver.set_up(wish, _quiet) == "made, switched on"
        assert _read(driver, path) == SwapState(path, SwapType.ZRAM, 4 * MIB, True, 100, "lzo")
        assert driver.set_up(wish, _quiet) == ""
        with pytest.raises(InvalidRequest, match="choose one of"):
            driver.set_up(SwapWish(path, SwapType.ZRAM, 4 * MIB, 100, "nonsense"), _quiet)
        larger = SwapWish(path, SwapType.ZRAM, 8 * MIB, 50, "lz4")
        assert driver.set_up(larger, _quiet) == "made anew, switched on"
        assert _read(driver, path) == SwapState(path, SwapType.ZRAM, 8 * MIB, True, 50, "lz4")
        assert driver.remove(path) is True
        assert _read(driver, path) is None
    finally:
        driver.remove(path)
        for name in set(os.listdir("/sys/block")) - before:
            (control / "hot_remove").write_text(name.removeprefix("zram"))


def test_tells_when_swap_is_switched_on_and_off(driver: LinuxSwapDriver, tmp_path: Path) -> None:
    path = str(tmp_path / "swap")
    driver.set_up(_file(path, 4 * MIB), _quiet)
    heard: queue.Queue[Sequence[str]] = queue.Queue()
    driver.watch(heard.put)
    while not heard.empty():
        heard.get()
    subprocess.run(["swapoff", path], check=True)
    while path not in heard.get(timeout=5):
        pass
    assert swap_files.is_ours(path)
    driver.remove(path)
