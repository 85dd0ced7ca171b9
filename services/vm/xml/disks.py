"""<disk> elements and Disk messages. Disks of sorts a Disk can't say are passed over, and so survive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.xml.tree import add, attribute, checked, drop, ensure

TARGET = re.compile(r"(vd|sd|hd)[a-z]{1,2}|fd[ab]")
_BUSES: Mapping[str, pb.DiskBus.ValueType] = {
    "virtio": pb.DISK_BUS_VIRTIO,
    "scsi": pb.DISK_BUS_SCSI,
    "sata": pb.DISK_BUS_SATA,
    "ide": pb.DISK_BUS_IDE,
    "usb": pb.DISK_BUS_USB,
    "fdc": pb.DISK_BUS_FDC,
}
_BUS_NAMES = {value: name for name, value in _BUSES.items()}
_BUS_OF_PREFIX = {"vd": "virtio", "sd": "sata", "hd": "ide", "fd": "fdc"}
_FORMATS: Mapping[str, pb.DiskFormat.ValueType] = {"raw": pb.DISK_FORMAT_RAW, "qcow2": pb.DISK_FORMAT_QCOW2}
FORMAT_NAMES = {value: name for name, value in _FORMATS.items()}
_DEVICES: Mapping[str, pb.DiskDevice.ValueType] = {
    "disk": pb.DISK_DEVICE_DISK,
    "cdrom": pb.DISK_DEVICE_CDROM,
    "floppy": pb.DISK_DEVICE_FLOPPY,
}
DEVICE_NAMES = {value: name for name, value in _DEVICES.items()}


def target_of(element: Element) -> str:
    """The device name the machine is told."""
    return attribute(element, "target", "dev")


def source_path(element: Element) -> str:
    """The file or device behind it; empty: none, or it is a volume."""
    return attribute(element, "source", "file") or attribute(element, "source", "dev")


def says(element: Element) -> bool:
    """Whether a Disk can say what the element is."""
    return (
        element.get("type", "file") in ("file", "block", "volume")
        and element.get("device", "disk") in _DEVICES
        and TARGET.fullmatch(target_of(element)) is not None
    )


def read_disk(element: Element) -> pb.Disk:
    """The message; `size` and `backing` are the image's business."""
    disk = pb.Disk(
        target=target_of(element),
        device=_DEVICES[element.get("device", "disk")],
        read_only=element.find("readonly") is not None,
    )
    if element.get("type") == "volume":
        disk.volume = attribute(element, "source", "volume")
        disk.pool = attribute(element, "source", "pool")
    elif source_path(element):
        disk.path = source_path(element)
    bus = _BUSES.get(attribute(element, "target", "bus"))
    if bus is not None:
        disk.bus = bus
    known = _FORMATS.get(attribute(element, "driver", "type"))
    if known is not None and element.find("source") is not None:
        disk.format = known
    return disk


def new_disk(target: str) -> Element:
    """An element to write a new Disk into."""
    element = Element("disk", {"type": "file", "device": "disk"})
    add(element, "driver", {"name": "qemu"})
    add(element, "target", {"dev": target, "bus": _BUS_OF_PREFIX[target[:2]]})
    return element


def write_disk(element: Element, disk: pb.Disk, *, block: bool, where: str) -> None:
    """Changes the element to what the message sets. `block`: `path` is a block device."""
    if disk.HasField("device"):
        element.set("device", DEVICE_NAMES.get(disk.device, "disk"))
    if disk.HasField("bus") and disk.bus in _BUS_NAMES:
        _set_bus(element, _BUS_NAMES[disk.bus])
    if disk.HasField("format") and disk.format in FORMAT_NAMES:
        ensure(element, "driver").set("type", FORMAT_NAMES[disk.format])
    _set_source(element, disk, block, where)
    if disk.HasField("read_only") and disk.read_only != (element.find("readonly") is not None):
        drop(element, "readonly")
        if disk.read_only:
            add(element, "readonly")


def _set_bus(element: Element, bus: str) -> None:
    target = ensure(element, "target")
    if target.get("bus") != bus:
        target.set("bus", bus)
        # Where it hung on the old bus.
        drop(element, "address")


def _set_source(element: Element, disk: pb.Disk, block: bool, where: str) -> None:
    if disk.HasField("volume"):
        wanted = {
            "pool": checked(disk.pool, f"{where}.pool"),
            "volume": checked(disk.volume, f"{where}.volume"),
        }
        kind = "volume"
    elif disk.HasField("path"):
        wanted = {"dev" if block else "file": checked(disk.path, f"{where}.path")}
        kind = "block" if block else "file"
    else:
        drop(element, "source")
        return
    source = element.find("source")
    if source is not None and element.get("type") == kind and wanted.items() <= source.attrib.items():
        return
    drop(element, "source", "backingStore")
    element.set("type", kind)
    add(element, "source", wanted)
