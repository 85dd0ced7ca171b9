"""Copies of disks: of machines that run and of those that are off, on real QEMU and in memory."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import Cancelled, Conflict, NotFound, Unsupported
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.disk_copies import DiskCopies
from services.vm.drivers.base import VmDriver
from services.vm.drivers.memory import MemoryVmDriver
from services.vm.kinds.machine import VirtualMachineKind
from vm_kinds import MIB, converge, delete

CONTENT = os.urandom(3 * MIB) + bytes(5 * MIB)


def quiet(percent: int | None) -> None:
    """Nobody looks."""


def machine(*disks: pb.Disk, running: bool) -> pb.VirtualMachine:
    return pb.VirtualMachine(
        cpus=1,
        memory=64 * MIB,
        accelerator=pb.ACCELERATOR_TCG,
        running=running,
        shutdown_timeout=0,
        disks=disks,
    )


@pytest.fixture
def folder(libvirtd: object) -> Iterator[Path]:
    """Where QEMU may read."""
    made = Path(str(libvirtd.folder)) / "disks"  # type: ignore[attr-defined]
    made.mkdir(exist_ok=True)
    yield made
    for path in made.iterdir():
        path.unlink()


def as_raw(path: Path, kind: str) -> bytes:
    flat = path.with_name("flat")
    subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", str(path), str(flat)], check=True)
    return flat.read_bytes()


@pytest.mark.host
@pytest.mark.parametrize("running", [True, False])
def test_byte_for_byte(qemu_driver: VmDriver, folder: Path, running: bool) -> None:
    raw, qcow2 = folder / "a.raw", folder / "b.qcow2"
    raw.write_bytes(CONTENT)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(qcow2)], check=True)
    kind = VirtualMachineKind(qemu_driver)
    spec = machine(
        pb.Disk(target="vda", path=str(raw), format=pb.DISK_FORMAT_RAW),
        pb.Disk(target="vdb", path=str(qcow2), format=pb.DISK_FORMAT_QCOW2),
        running=running,
    )
    converge(kind, "web", spec)
    copies = DiskCopies(qemu_driver)
    for _ in range(2):
        made = copies.make("web", quiet, threading.Event())
    assert [(one.target, one.source, one.path, one.format) for one in made] == [
        ("vda", str(raw), f"{raw}.nixcc-copy", "raw"),
        ("vdb", str(qcow2), f"{qcow2}.nixcc-copy", "qcow2"),
    ]
    for one in made:
        assert as_raw(Path(one.path), one.format) == CONTENT
    found = qemu_driver.machines.get("web")
    assert found is not None
    assert found.active is running
    copies.remove("web")
    copies.remove("web")
    assert not list(folder.glob("*.nixcc-copy"))
    delete(kind, "web")


@pytest.mark.host
def test_a_disk_that_is_not_there_leaves_no_copy(qemu_driver: VmDriver, folder: Path) -> None:
    disk = folder / "a.raw"
    disk.write_bytes(CONTENT)
    kind = VirtualMachineKind(qemu_driver)
    converge(
        kind, "web", machine(pb.Disk(target="vda", path=str(disk), format=pb.DISK_FORMAT_RAW), running=False)
    )
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        DiskCopies(qemu_driver).make("web", quiet, cancelled)
    disk.unlink()
    with pytest.raises(Exception, match=r"a\.raw"):
        DiskCopies(qemu_driver).make("web", quiet, threading.Event())
    assert not list(folder.glob("*.nixcc-copy"))
    delete(kind, "web")


def test_what_can_not_be_copied() -> None:
    driver = MemoryVmDriver()
    kind, copies = VirtualMachineKind(driver), DiskCopies(driver)
    with pytest.raises(NotFound, match="no machine 'absent'"):
        copies.make("absent", quiet, threading.Event())
    copies.remove("absent")
    driver.images.create("/dev/vg/web", "raw", MIB, "")
    converge(
        kind,
        "web",
        machine(pb.Disk(target="vda", path="/dev/vg/web", format=pb.DISK_FORMAT_RAW), running=True),
    )
    with pytest.raises(Unsupported, match="vda of web is no file"):
        copies.make("web", quiet, threading.Event())


def test_one_at_a_time() -> None:
    driver = MemoryVmDriver()
    driver.images.create("/d/a.raw", "raw", MIB, "")
    kind, copies = VirtualMachineKind(driver), DiskCopies(driver)
    converge(
        kind, "web", machine(pb.Disk(target="vda", path="/d/a.raw", format=pb.DISK_FORMAT_RAW), running=True)
    )
    again: list[str] = []

    def during(percent: int | None) -> None:
        if not again:
            again.append("")
            for call in (lambda: copies.make("web", quiet, threading.Event()), lambda: copies.remove("web")):
                with pytest.raises(Conflict, match="are being copied"):
                    call()

    copies.make("web", during, threading.Event())
    assert again
    assert "/d/a.raw.nixcc-copy" in driver.images.files
    copies.remove("web")
    assert "/d/a.raw.nixcc-copy" not in driver.images.files
