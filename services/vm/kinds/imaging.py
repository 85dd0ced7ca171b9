"""The images behind a machine's disks: what must be made or grown before it can have them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import InvalidRequest, NotFound, Violation, WrongState
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.drivers.base import Storage, VmDriver
from services.vm.models import Image, Machine
from services.vm.xml import disks as disk_xml
from services.vm.xml.domain import devices_of
from services.vm.xml.notes import DiskNote, Notes
from services.vm.xml.storage import volume_format
from services.vm.xml.tree import parse

_FORMATS = {"raw": pb.DISK_FORMAT_RAW, "qcow2": pb.DISK_FORMAT_QCOW2}


@dataclass(frozen=True)
class Work:
    """A step on an image, done once the machine's definition is stored."""

    message: str
    run: Callable[[], None]


def plan(driver: VmDriver, spec: pb.VirtualMachine, notes: Notes, machine: Machine | None) -> list[Work]:
    """Fills in what disks leave open (format, pool) and says what is to be done. Changes nothing on the host.

    Raises WrongState (would shrink, is of another format or over another image), NotFound (no image, none to make).
    """
    stored = parse(machine.stored) if machine is not None else None
    known = {
        disk_xml.target_of(e): disk_xml.read_disk(e)
        for e in (devices_of(stored).findall("disk") if stored is not None else ())
        if disk_xml.says(e)
    }
    work: list[Work] = []
    old_notes, notes.disks = notes.disks, {}
    for disk in spec.disks:
        before = known.get(disk.target, pb.Disk())
        if disk.HasField("volume"):
            _fill_volume(driver.storage, disk, before)
        elif disk.HasField("path"):
            note = old_notes.get(disk.target)
            if note is None or note.path != disk.path:
                note = DiskNote(disk.path)
            notes.disks[disk.target] = note
            _plan_image(driver, disk, before, note, machine, work)
        elif not disk.HasField("format") and not before.HasField("format"):
            disk.format = pb.DISK_FORMAT_RAW
    return work


def describe(driver: VmDriver, spec: pb.VirtualMachine, notes: Notes) -> list[str]:
    """Sets size and backing of the detected disks; returns what is wrong with images."""
    wrong: list[str] = []
    for disk in spec.disks:
        if not disk.HasField("path"):
            continue
        if driver.images is None:
            note = notes.disks.get(disk.target)
            if note is not None and note.path == disk.path:
                if note.size is not None:
                    disk.size = note.size
                disk.backing = note.backing
            continue
        try:
            image = driver.images.get(disk.path, disk_xml.FORMAT_NAMES.get(disk.format, ""))
        except (WrongState, NotFound) as error:
            wrong.append(f"disk {disk.target}: {error.message}")
            continue
        if image is not None:
            disk.size = image.size
            disk.backing = image.backing
        elif disk.device == pb.DISK_DEVICE_DISK:
            wrong.append(f"disk {disk.target}: its image {disk.path} does not exist")
    return wrong


def remove_made(driver: VmDriver, name: str, notes: Notes) -> list[str]:
    """Deletes the images made for a machine that no other machine uses; returns their paths."""
    if driver.images is None:
        return []
    made = {note.path for note in notes.disks.values() if note.made}
    for other in driver.machines.names() if made else ():
        machine = driver.machines.get(other) if other != name else None
        if machine is not None:
            for element in devices_of(parse(machine.stored)).findall("disk"):
                made.discard(disk_xml.source_path(element))
    for path in sorted(made):
        driver.images.remove(path)
    return sorted(made)


def _fill_volume(storage: Storage, disk: pb.Disk, before: pb.Disk) -> None:
    if not disk.HasField("pool"):
        if before.volume == disk.volume and before.HasField("pool"):
            disk.pool = before.pool
        else:
            found = [p for p in storage.pools() for v in storage.volumes(p) if v.name == disk.volume]
            if not found:
                raise NotFound(f"disks[{disk.target}]: no storage pool in use has a volume {disk.volume}")
            if len(found) > 1:
                what = f"pools {', '.join(found)} have a volume {disk.volume}: say which"
                raise InvalidRequest(
                    f"disks[{disk.target}].pool: {what}", [Violation(f"disks[{disk.target}].pool", what)]
                )
            disk.pool = found[0]
    if disk.HasField("format") or (before.volume == disk.volume and before.HasField("format")):
        return
    for volume in storage.volumes(disk.pool):
        if volume.name == disk.volume:
            disk.format = _FORMATS.get(volume_format(parse(volume.xml)), pb.DISK_FORMAT_RAW)
            return
    raise NotFound(f"disks[{disk.target}]: storage pool {disk.pool} has no volume {disk.volume}")


def _plan_image(
    driver: VmDriver,
    disk: pb.Disk,
    before: pb.Disk,
    note: DiskNote,
    machine: Machine | None,
    work: list[Work],
) -> None:
    same = before.path == disk.path
    if not disk.HasField("format") and same and before.HasField("format"):
        disk.format = before.format
    images = driver.images
    if images is None:
        if not disk.HasField("format"):
            disk.format = (
                pb.DISK_FORMAT_QCOW2 if disk.device in (0, pb.DISK_DEVICE_DISK) else pb.DISK_FORMAT_RAW
            )
        if disk.HasField("size"):
            _refuse_shrinking(disk, note.size or 0)
            note.size = disk.size
        note.backing = disk.backing or note.backing
        return
    image = images.get(disk.path, disk_xml.FORMAT_NAMES.get(disk.format, ""))
    if image is None:
        _plan_new(driver, disk, note, work)
        return
    disk.format = _FORMATS[image.format]
    if disk.HasField("backing") and disk.backing != image.backing:
        raise WrongState(
            f"disks[{disk.target}]: image {disk.path} lies over {image.backing or 'no other image'},"
            f" not over {disk.backing or 'none'}",
            next_step="choose another path, or delete the image to have it made anew",
        )
    if disk.HasField("size"):
        _refuse_shrinking(disk, image.size)
        if disk.size > image.size:
            work.append(_growth(driver, disk, image, machine if same else None))


def _plan_new(driver: VmDriver, disk: pb.Disk, note: DiskNote, work: list[Work]) -> None:
    if not disk.HasField("size") and not disk.backing:
        raise NotFound(
            f"disks[{disk.target}]: there is no image {disk.path}", next_step="give its size to have it made"
        )
    if not disk.HasField("format"):
        disk.format = pb.DISK_FORMAT_QCOW2
    known = disk_xml.FORMAT_NAMES[disk.format]
    path, size, backing = disk.path, disk.size if disk.HasField("size") else None, disk.backing
    note.made = True
    images = driver.images
    assert images is not None  # asked by the caller
    work.append(Work(f"make disk image {path}", lambda: images.create(path, known, size, backing)))


def _growth(driver: VmDriver, disk: pb.Disk, image: Image, machine: Machine | None) -> Work:
    target, path, size = disk.target, disk.path, disk.size
    images = driver.images
    assert images is not None  # there is an image
    if machine is not None and machine.live is not None:
        live = {disk_xml.target_of(e): e for e in devices_of(parse(machine.live)).findall("disk")}
        if target in live and disk_xml.source_path(live[target]) == path:
            name = machine.name
            return Work(f"grow disk {target}", lambda: driver.machines.resize_disk(name, target, size))
    return Work(f"grow disk image {path}", lambda: images.grow(path, image.format, size))


def _refuse_shrinking(disk: pb.Disk, size: int) -> None:
    if disk.size < size:
        raise WrongState(
            f"disks[{disk.target}]: {disk.path} is {size} bytes large and can't shrink to {disk.size}",
            next_step=f"say size: {size} or more, or make a new disk",
        )
