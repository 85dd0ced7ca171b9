"""A domain's XML read as a VirtualMachine message: what is there, whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.xml import disks, interfaces
from services.vm.xml.notes import Notes
from services.vm.xml.tree import attribute, size_of, text_of

BOOT_DEVICES: Mapping[str, pb.BootDevice.ValueType] = {
    "hd": pb.BOOT_DEVICE_HD,
    "network": pb.BOOT_DEVICE_NETWORK,
    "cdrom": pb.BOOT_DEVICE_CDROM,
    "fd": pb.BOOT_DEVICE_FLOPPY,
}
GRAPHICS: Mapping[str, pb.GraphicsType.ValueType] = {
    "vnc": pb.GRAPHICS_TYPE_VNC,
    "spice": pb.GRAPHICS_TYPE_SPICE,
}


def read_machine(root: Element, notes: Notes) -> pb.VirtualMachine:
    """The message without `running` and `autostart` (not in the XML), sizes of images and the seed's digests."""
    spec = pb.VirtualMachine()
    _read_size(root, spec)
    spec.firmware = pb.FIRMWARE_UEFI if is_uefi(root) else pb.FIRMWARE_BIOS
    machine_type = attribute(root, "os/type", "machine")
    if machine_type:
        spec.machine_type = notes.machine if holds(notes.machine, machine_type) else machine_type
    accelerator = _accelerator(root.get("type", ""), notes.accelerator)
    if accelerator:
        spec.accelerator = accelerator
    devices = devices_of(root)
    seed = notes.seed.path if notes.seed is not None else ""
    for element in devices.findall("disk"):
        if disks.says(element) and not is_seed(element, seed):
            spec.disks.append(disks.read_disk(element))
    for name, element in interfaces.named_interfaces(devices):
        spec.interfaces.append(interfaces.read_interface(name, element))
    _read_graphics(devices, spec.graphics)
    _read_boot(root, spec)
    spec.serial_console = devices.find("serial") is not None
    spec.labels.update(notes.labels)
    spec.shutdown_timeout = 30 if notes.shutdown_timeout is None else notes.shutdown_timeout
    spec.delete_disks = bool(notes.delete_disks)
    return spec


def devices_of(root: Element) -> Element:
    """The devices; an empty element where there are none."""
    found = root.find("devices")
    return Element("devices") if found is None else found


def is_seed(element: Element, path: str) -> bool:
    """Whether the disk is the CD with the cloud-init seed."""
    return bool(path) and element.get("device") == "cdrom" and disks.source_path(element) == path


def is_uefi(root: Element) -> bool:
    """Whether UEFI starts it."""
    firmware = attribute(root, "os", "firmware")
    return firmware == "efi" or (not firmware and attribute(root, "os/loader", "type") == "pflash")


def holds(requested: str, actual: str) -> bool:
    """Whether `actual` is a version of the `requested` machine type: `pc-q35-7.2` of `q35`, `pc-i440fx-7.2` of `pc`."""
    if not requested:
        return False
    family = "pc-i440fx" if requested == "pc" else requested
    return requested == actual or re.fullmatch(rf"(pc-)?{re.escape(family)}-\d[\w.-]*", actual) is not None


def cpus_of(root: Element) -> tuple[int, int]:
    """CPUs in use and the most there can be."""
    element = root.find("vcpu")
    if element is None:
        return 1, 1
    most = int((element.text or "1").strip() or 1)
    return int(element.get("current") or most), most


def memory_of(root: Element) -> tuple[int, int]:
    """Bytes of memory in use and the most there can be."""
    most = size_of(root.find("memory")) or 0
    current = size_of(root.find("currentMemory"))
    return most if current is None else current, most


def _read_size(root: Element, spec: pb.VirtualMachine) -> None:
    spec.cpus, spec.max_cpus = cpus_of(root)
    spec.memory, spec.max_memory = memory_of(root)


def _accelerator(domain_type: str, asked: str) -> pb.Accelerator.ValueType | None:
    """What a domain type says; a driver without such types (libvirt's test driver) holds what was asked for."""
    if domain_type in ("kvm", "qemu") and asked != "AUTO":
        return pb.ACCELERATOR_KVM if domain_type == "kvm" else pb.ACCELERATOR_TCG
    return pb.Accelerator.Value(f"ACCELERATOR_{asked}") if asked else None


def _read_graphics(devices: Element, graphics: pb.Graphics) -> None:
    graphics.type = pb.GRAPHICS_TYPE_NONE
    element = graphics_of(devices)
    if element is None:
        return
    graphics.type = GRAPHICS[element.get("type", "")]
    fixed = element.get("autoport") != "yes"
    port = int(element.get("port") or 0)
    graphics.port = port if fixed and port > 0 else 0
    graphics.listen = element.get("listen") or attribute(element, "listen", "address") or "127.0.0.1"


def graphics_of(devices: Element) -> Element | None:
    """The first screen that a Graphics can say."""
    return next((e for e in devices.findall("graphics") if e.get("type") in GRAPHICS), None)


def _read_boot(root: Element, spec: pb.VirtualMachine) -> None:
    order = [BOOT_DEVICES[e.get("dev", "")] for e in root.iterfind("os/boot") if e.get("dev") in BOOT_DEVICES]
    if order:
        spec.boot.order.extend(order)
    spec.direct_boot.kernel = text_of(root, "os/kernel")
    spec.direct_boot.initrd = text_of(root, "os/initrd")
    spec.direct_boot.command_line = text_of(root, "os/cmdline")
