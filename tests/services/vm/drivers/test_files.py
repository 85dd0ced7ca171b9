from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from common.errors import AlreadyExists, CommandFailed, InvalidRequest, NotFound, WrongState
from services.vm.drivers.images import HostImages
from services.vm.drivers.seeds import HostSeeds

MIB = 1024 * 1024


@pytest.fixture
def images(require: Any) -> HostImages:
    require(binary="qemu-img")
    return HostImages()


@pytest.mark.host
@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_an_image_is_read_as_it_was_made(images: HostImages, tmp_path: Path, form: str) -> None:
    path = f"{tmp_path}/disk image,-x.img"
    assert images.get(path) is None
    images.create(path, form, 3 * MIB, "")
    found = images.get(path)
    assert found is not None
    assert (found.format, found.size, found.backing) == (form, 3 * MIB, "")
    assert Path(path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyExists):
        images.create(path, form, MIB, "")
    images.grow(path, form, 5 * MIB)
    grown = images.get(path, form)
    assert grown is not None
    assert grown.size == 5 * MIB
    images.remove(path)
    images.remove(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.host
def test_a_backing_image_is_told_with_its_whole_path(images: HostImages, tmp_path: Path) -> None:
    base, top = f"{tmp_path}/base", f"{tmp_path}/top"
    with pytest.raises(NotFound, match="backing image"):
        images.create(top, "qcow2", None, base)
    images.create(base, "raw", 2 * MIB, "")
    images.create(top, "qcow2", None, base)
    found = images.get(top)
    assert found is not None
    assert (found.size, found.backing) == (2 * MIB, base)


@pytest.mark.host
def test_a_raw_disk_cannot_pass_itself_off_as_an_overlay(images: HostImages, tmp_path: Path) -> None:
    path = f"{tmp_path}/evil.raw"
    images.create(f"{tmp_path}/overlay", "qcow2", MIB, "")
    Path(path).write_bytes(Path(f"{tmp_path}/overlay").read_bytes())
    found = images.get(path, "raw")
    assert found is not None
    assert (found.format, found.size) == ("raw", Path(path).stat().st_size)


def test_what_is_no_image_of_its_format_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"", b"QFI", b"x" * 4096):
        path.write_bytes(content)
        with pytest.raises(WrongState, match="no qcow2 image"):
            HostImages().get(str(path), "qcow2")
        found = HostImages().get(str(path))
        assert found is not None
        assert (found.format, found.size) == ("raw", len(content))


@pytest.mark.host
def test_a_full_disk_leaves_nothing_behind(images: HostImages, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed):
        images.create(f"{tmp_path}/a", "raw", 2**62, "")
    assert os.listdir(tmp_path) == []
    with pytest.raises(NotFound, match="folder"):
        images.create(f"{tmp_path}/none/a", "raw", MIB, "")


def test_a_seed_holds_what_cloud_init_looks_for(tmp_path: Path) -> None:
    seeds = HostSeeds(tmp_path / "seeds")
    path = seeds.path("web")
    assert seeds.read(path) is None
    files = {"user-data": b"#cloud-config\n" * 5000, "meta-data": b"instance-id: a\n", "network-config": b""}
    seeds.write(path, files)
    assert seeds.read(path) == files
    content = Path(path).read_bytes()
    # ISO 9660: the primary volume descriptor is sector 16, its volume identifier 40 bytes in.
    assert content[16 * 2048 + 40 : 16 * 2048 + 72].strip() == b"cidata"
    assert Path(path).stat().st_mode & 0o777 == 0o600
    seeds.write(path, {"user-data": b"new", "meta-data": b""})
    assert seeds.read(path) == {"user-data": b"new", "meta-data": b""}
    Path(path).write_bytes(b"no iso at all")
    assert seeds.read(path) == {}
    seeds.remove(path)
    seeds.remove(path)
    assert os.listdir(tmp_path / "seeds") == []


def test_user_data_of_the_host_is_bounded(tmp_path: Path) -> None:
    seeds = HostSeeds(tmp_path)
    with pytest.raises(NotFound):
        seeds.user_data(f"{tmp_path}/none")
    (tmp_path / "large").write_bytes(b"x" * (MIB + 1))
    with pytest.raises(InvalidRequest, match="larger than 1 MiB"):
        seeds.user_data(f"{tmp_path}/large")
