"""The real mount driver on this machine: tmpfs, images behind loop devices, folders bound elsewhere."""

from __future__ import annotations

import os
import queue
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from common.errors import HostUnavailable, InvalidRequest, WrongState
from services.hardware.drivers.linux_mounts import LinuxMountDriver
from services.hardware.drivers.record import Record
from services.hardware.models.states import MountState, MountWish

pytestmark = pytest.mark.host


@pytest.fixture
def driver(tmp_path: Path, require: Callable[..., None]) -> Iterator[LinuxMountDriver]:
    require(root=True)
    require(binary="mount")
    driver = LinuxMountDriver(Record(tmp_path / "record.json"))
    yield driver
    driver.close()
    while any(_under(line, tmp_path) for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if _under(line, tmp_path):
                subprocess.run(["umount", line.split()[4]], check=True)


def _under(line: str, folder: Path) -> bool:
    return line.split()[4].startswith(f"{folder}/")


def _read(driver: LinuxMountDriver, point: str) -> MountState | None:
    state = driver.read([point])[point]
    assert state is None or isinstance(state, MountState)
    return state


def test_mounts_changes_options_in_place_and_unmounts(driver: LinuxMountDriver, tmp_path: Path) -> None:
    point = str(tmp_path / "deep/er/data")
    assert _read(driver, point) is None
    wish = MountWish(point, "scratch", "tmpfs", ("noexec", "size=1m"))
    assert driver.mount(wish) == "mounted scratch"
    assert _read(driver, point) == MountState(point, "scratch", "tmpfs", ("noexec", "size=1m"))
    Path(point, "kept").write_text("x")
    assert driver.mount(wish) == ""

    read_only = MountWish(point, "scratch", "tmpfs", ("noexec", "ro", "size=1m"))
    assert "remounted" in driver.mount(read_only)
    assert _read(driver, point) == MountState(point, "scratch", "tmpfs", ("noexec", "ro", "size=1m"))
    assert Path(point, "kept").read_text() == "x"
    with pytest.raises(OSError, match="Read-only"):
        Path(point, "new").write_text("")

    assert driver.unmount(point) is True
    assert _read(driver, point) is None
    # The folders that it made are gone too.
    assert not (tmp_path / "deep").exists()
    assert driver.unmount(point) is False


def test_sees_what_others_change(driver: LinuxMountDriver, tmp_path: Path) -> None:
    point = str(tmp_path / "data")
    driver.mount(MountWish(point, "scratch", "tmpfs", ("nosuid", "size=1m")))
    subprocess.run(["mount", "-o", "remount,ro", point], check=True)
    state = _read(driver, point)
    assert state is not None
    assert "ro" in state.options
    driver.mount(MountWish(point, "scratch", "tmpfs", ("nosuid", "size=1m")))
    assert _read(driver, point) == MountState(point, "scratch", "tmpfs", ("nosuid", "size=1m"))
    Path(point, "new").write_text("writable again")


def test_a_lost_record_costs_one_remount_and_no_data(driver: LinuxMountDriver, tmp_path: Path) -> None:
    point = str(tmp_path / "data")
    wish = MountWish(point, "scratch", "tmpfs", ("size=1m",))
    driver.mount(wish)
    Path(point, "kept").write_text("x")
    stranger = LinuxMountDriver(Record(tmp_path / "another.json"))
    state = _read(stranger, point)
    assert state is not None
    assert "size=1024k" in state.options
    assert "remounted" in stranger.mount(wish)
    assert _read(stranger, point) == MountState(point, "scratch", "tmpfs", ("size=1m",))
    assert Path(point, "kept").read_text() == "x"


@pytest.mark.parametrize("tag", ["UUID", "LABEL"])
def test_mounts_by_tag_and_adopts_a_mount_named_otherwise(
    driver: LinuxMountDriver, tmp_path: Path, loop: Callable[..., Any], require: Callable[..., None], tag: str
) -> None:
    require(binary="mkfs.ext4")
    uuid = "6f1e1c44-8b1d-4f43-9d0c-6f0b1a2c3d4e"
    device = loop("mkfs.ext4", "-q", "-L", "nixcc-test", "-U", uuid).device
    point = str(tmp_path / "data")
    source = f"{tag}={uuid if tag == 'UUID' else 'nixcc-test'}"
    os.mkdir(point)
    subprocess.run(["mount", device, point], check=True)
    Path(point, "kept").write_text("x")
    state = _read(driver, point)
    assert state is not None
    assert (state.source, state.fs_type) == (device, "ext4")
    # The same device in other words: nothing is unmounted.
    with open(f"{point}/kept"):
        driver.mount(MountWish(point, source, None, None))
    assert _read(driver, point) == MountState(point, source, "ext4", ())
    assert driver.unmount(point)
    assert driver.mount(MountWish(point, source, "ext4", ("noatime",))) == f"mounted {source}"
    assert _read(driver, point) == MountState(point, source, "ext4", ("noatime",))
    assert os.path.isdir(point)


def test_an_image_file_and_replacement_by_another(
    driver: LinuxMountDriver, tmp_path: Path, require: Callable[..., None]
) -> None:
    require(binary="mkfs.ext4")
    images = []
    for name in ("one", "two"):
        image = tmp_path / f"{name}.img"
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-L", name, str(image)], check=True, capture_output=True)
        images.append(str(image))
    point = str(tmp_path / "data")
    driver.mount(MountWish(point, images[0], "ext4", ("ro",)))
    assert _read(driver, point) == MountState(point, images[0], "ext4", ("ro",))
    assert "instead of" in driver.mount(MountWish(point, images[1], "ext4", ("ro",)))
    assert _read(driver, point) == MountState(point, images[1], "ext4", ("ro",))
    held = os.open(point, os.O_RDONLY)
    try:
        with pytest.raises(WrongState, match="busy") as caught:
            driver.mount(MountWish(point, images[0], "ext4", ("ro",)))
        assert "fuser" in caught.value.next_step
    finally:
        os.close(held)
    assert _read(driver, point) == MountState(point, images[1], "ext4", ("ro",))


def test_binds_a_folder_and_makes_it_read_only(driver: LinuxMountDriver, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    point = str(tmp_path / "bound")
    driver.mount(MountWish(point, str(source), None, ("bind",)))
    state = _read(driver, point)
    assert state is not None
    assert (state.source, state.options) == (str(source), ("bind",))
    driver.mount(MountWish(point, str(source), None, ("bind", "ro")))
    assert Path(point, "file").read_text() == "x"
    with pytest.raises(OSError, match="Read-only"):
        Path(point, "file").write_text("y")
    # The folder itself stays writable.
    (source / "file").write_text("z")


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (("UUID=00000000-1111-2222-3333-444444444444", "ext4", ()), HostUnavailable),
        (("/dev/nothing", "ext4", ()), HostUnavailable),
        (("a disk", "nofs", ()), InvalidRequest),
        (("a disk", "ext4", ()), InvalidRequest),
        (("scratch", "tmpfs", ("size=nonsense",)), InvalidRequest),
    ],
)
def test_says_what_can_not_be_mounted(
    driver: LinuxMountDriver,
    tmp_path: Path,
    loop: Callable[..., Any],
    wish: tuple[str, str, Sequence[str]],
    error: type[Exception],
) -> None:
    point = tmp_path / "data"
    source = loop().device if wish[0] == "a disk" else wish[0]
    with pytest.raises(error):
        driver.mount(MountWish(str(point), source, wish[1], tuple(wish[2])))
    assert not point.exists()


def test_never_follows_a_link_and_never_unmounts_the_root(driver: LinuxMountDriver, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(InvalidRequest, match="symbolic link"):
        driver.mount(MountWish(str(tmp_path / "link"), "scratch", "tmpfs", ()))
    with pytest.raises(WrongState, match="can't be unmounted"):
        driver.unmount("/")


def test_tells_of_mounts_as_they_come_and_go(driver: LinuxMountDriver, tmp_path: Path) -> None:
    heard: queue.Queue[Sequence[str]] = queue.Queue()
    driver.watch(heard.put)
    point = str(tmp_path / "data")
    os.mkdir(point)

    def wait_for_hint() -> None:
        while point not in heard.get(timeout=5):
            pass

    subprocess.run(["mount", "-t", "tmpfs", "scratch", point], check=True)
    wait_for_hint()
    subprocess.run(["mount", "-o", "remount,ro", point], check=True)
    wait_for_hint()
    subprocess.run(["umount", point], check=True)
    wait_for_hint()


def test_lists_what_lies_on_disks_only(driver: LinuxMountDriver, tmp_path: Path) -> None:
    driver.mount(MountWish(str(tmp_path / "data"), "scratch", "tmpfs", ()))
    present = driver.present()
    assert str(tmp_path / "data") not in present
    assert "/proc" not in present
    mounted = Path("/proc/self/mountinfo").read_text()
    assert ("/" in present) == any(
        line.split()[4] == "/" and " - overlay " not in line for line in mounted.splitlines()
    )
