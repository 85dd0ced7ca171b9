"""What the drivers of one kind have in common: the same steps on the real one and on the one in memory."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from common.errors import InvalidRequest
from services.hardware.drivers.base import GovernorDriver, MountDriver, SwapDriver
from services.hardware.drivers.linux_governor import LinuxGovernorDriver
from services.hardware.drivers.linux_mounts import LinuxMountDriver
from services.hardware.drivers.linux_swap import LinuxSwapDriver
from services.hardware.drivers.memory_objects import MemoryGovernorDriver, MemoryMountDriver, MemorySwapDriver
from services.hardware.drivers.record import Record
from services.hardware.drivers.tree import Tree
from services.hardware.models.states import (
    GovernorState,
    MountState,
    MountWish,
    SwapState,
    SwapType,
    SwapWish,
)

BOTH = ["memory", pytest.param("linux", marks=pytest.mark.host)]


@pytest.fixture(params=BOTH)
def mounts(
    request: pytest.FixtureRequest, tmp_path: Path, require: Callable[..., None]
) -> Iterator[MountDriver]:
    driver: MountDriver = MemoryMountDriver()
    if request.param == "linux":
        driver = LinuxMountDriver(Record(tmp_path / "record.json"))
        require(when=not driver.unsupported(), reason=driver.unsupported())
    yield driver
    driver.close()
    driver.unmount(str(tmp_path / "data"))


@pytest.fixture(params=BOTH)
def swaps(
    request: pytest.FixtureRequest, tmp_path: Path, require: Callable[..., None]
) -> Iterator[SwapDriver]:
    driver: SwapDriver = MemorySwapDriver()
    if request.param == "linux":
        driver = LinuxSwapDriver()
        require(when=not driver.unsupported(), reason=driver.unsupported())
    yield driver
    driver.close()
    driver.remove(str(tmp_path / "swap"))


def test_a_mount_is_made_changed_told_and_removed(mounts: MountDriver, tmp_path: Path) -> None:
    point = str(tmp_path / "data")
    heard: queue.Queue[Sequence[str]] = queue.Queue()
    mounts.watch(heard.put)
    assert mounts.read([point]) == {point: None}
    assert mounts.mount(MountWish(point, "scratch", "tmpfs", ("size=1m",)))
    while point not in heard.get(timeout=5):
        pass
    assert mounts.read([point]) == {point: MountState(point, "scratch", "tmpfs", ("size=1m",))}
    assert mounts.mount(MountWish(point, "scratch", "tmpfs", ("size=1m",))) == ""
    # Options that are not managed stay as they are.
    assert mounts.mount(MountWish(point, "scratch", "tmpfs", None)) == ""
    assert mounts.mount(MountWish(point, "scratch", "tmpfs", ("nosuid", "size=1m")))
    assert mounts.read([point]) == {point: MountState(point, "scratch", "tmpfs", ("nosuid", "size=1m"))}
    assert mounts.mount(MountWish(point, "another", "tmpfs", ("size=1m",)))
    assert mounts.read([point]) == {point: MountState(point, "another", "tmpfs", ("size=1m",))}
    assert mounts.unmount(point) is True
    assert mounts.unmount(point) is False
    assert mounts.read([point]) == {point: None}


def test_swap_is_made_changed_and_removed(swaps: SwapDriver, tmp_path: Path) -> None:
    path = str(tmp_path / "swap")

    def wish(size: int, priority: int | None, active: bool = True) -> SwapWish:
        return SwapWish(path, SwapType.FILE, size << 20, priority, None, active)

    def set_up(one: SwapWish) -> str:
        return swaps.set_up(one, lambda text, percent: None)

    assert swaps.read([path]) == {path: None}
    assert set_up(wish(2, 5))
    assert swaps.read([path]) == {path: SwapState(path, SwapType.FILE, 2 << 20, True, 5)}
    assert set_up(wish(2, 5)) == ""
    # A priority that is not managed stays as it is.
    assert set_up(wish(2, None)) == ""
    assert set_up(wish(4, 6))
    assert swaps.read([path]) == {path: SwapState(path, SwapType.FILE, 4 << 20, True, 6)}
    assert path in swaps.present()
    assert set_up(wish(4, None, active=False))
    assert swaps.read([path]) == {path: SwapState(path, SwapType.FILE, 4 << 20, False)}
    assert path not in swaps.present()
    assert swaps.remove(path) is True
    assert swaps.remove(path) is False


@pytest.fixture(params=["memory", "recorded"])
def governors(
    request: pytest.FixtureRequest, recorded: Callable[[str], Path], tmp_path: Path
) -> GovernorDriver:
    """The laptop's two policies."""
    if request.param == "recorded":
        return LinuxGovernorDriver(Tree(recorded("laptop")), Record(tmp_path / "governors.json"))
    offered = ("performance", "powersave")
    return MemoryGovernorDriver(
        {
            "policy0": GovernorState("policy0", "powersave", 400000, 4700000, offered),
            "policy2": GovernorState("policy2", "performance", 400000, 3400000, offered),
        }
    )


def test_governors_are_set_and_given_back(governors: GovernorDriver) -> None:
    assert governors.unsupported() == ""
    first = governors.read(["all", "policy0", "policy9"])
    assert first["all"] == GovernorState("all", "performance,powersave", 400000, 4700000)
    assert first["policy9"] is None
    assert governors.set("all", "powersave", 500000, None)
    assert governors.set("all", "powersave", 500000, None) == ""
    assert governors.read(["all"])["all"] == GovernorState("all", "powersave", 500000, 4700000)
    with pytest.raises(InvalidRequest):
        governors.set("all", "ondemand", None, None)
    with pytest.raises(InvalidRequest):
        governors.set("policy9", "powersave", None, None)
    assert governors.release("all") is True
    assert governors.release("all") is False
    found = governors.read(["all", "policy2"])
    assert found["all"] is None
    assert found["policy2"] == GovernorState("policy2", "performance", 400000, 3400000)
