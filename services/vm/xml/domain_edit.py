"""A VirtualMachine message written into a domain's XML: only what it sets, everything else stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import uuid4
from xml.etree.ElementTree import Element

from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.xml import disks, interfaces
from services.vm.xml.domain import (
    BOOT_DEVICES,
    GRAPHICS,
    cpus_of,
    devices_of,
    graphics_of,
    holds,
    is_seed,
    is_uefi,
    memory_of,
)
from services.vm.xml.notes import Notes
from services.vm.xml.tree import (
    add,
    attribute,
    checked,
    checked_text,
    drop,
    ensure,
    has,
    set_size,
    set_text,
)

_BOOT_NAMES = {value: name for name, value in BOOT_DEVICES.items()}
_GRAPHICS_NAMES = {value: name for name, value in GRAPHICS.items()}
NEW_MEMORY = 1024**3
# PCI Express has no free slots of its own: devices attached later need a port each.
_SPARE_PORTS = 8


@dataclass(frozen=True)
class Host:
    """What the writer must know about the host."""

    # The domain type for an accelerator.
    domain_type: Callable[[pb.Accelerator.ValueType], str]
    # Whether a path is a block device.
    is_block: Callable[[str], bool]
    # A real PC: it gets ACPI and, under KVM, the host's processor.
    is_pc: bool


def new_domain(name: str, spec: pb.VirtualMachine, host: Host) -> Element:
    """A domain with what a new machine has unless its spec says otherwise."""
    accelerator = spec.accelerator or pb.ACCELERATOR_AUTO
    root = Element("domain", {"type": host.domain_type(accelerator)})
    add(root, "name", text=checked_text(name, "name"))
    add(root, "uuid", text=str(uuid4()))
    set_size(root, "memory", NEW_MEMORY)
    add(root, "vcpu", text="1")
    add(add(root, "os"), "type", text="hvm")
    if host.is_pc:
        features = add(root, "features")
        add(features, "acpi")
        add(features, "apic")
        if root.get("type") == "kvm":
            add(root, "cpu", {"mode": "host-passthrough", "migratable": "on"})
    devices = add(root, "devices")
    if "q35" in spec.machine_type:
        _add_ports(devices, len(spec.disks) + len(spec.interfaces) + _SPARE_PORTS)
    if not spec.HasField("serial_console") or spec.serial_console:
        _add_serial(devices)
    return root


def edit_domain(root: Element, spec: pb.VirtualMachine, notes: Notes, host: Host) -> None:
    """Writes the spec into the domain. The notes (written separately) must hold the seed's path already."""
    _edit_cpus(root, spec)
    _edit_memory(root, spec)
    if spec.HasField("accelerator"):
        _edit_accelerator(root, spec, notes, host)
    if spec.HasField("machine_type"):
        _edit_machine_type(root, spec, notes)
    if spec.HasField("firmware"):
        _edit_firmware(root, spec.firmware == pb.FIRMWARE_UEFI)
    devices = ensure(root, "devices")
    _edit_disks(devices, spec, notes, host)
    _edit_interfaces(devices, spec)
    if spec.HasField("graphics"):
        _edit_graphics(devices, spec.graphics)
    _edit_boot(root, spec)
    if spec.HasField("serial_console"):
        _edit_serial(devices, spec.serial_console)
    _edit_seed(devices, notes)


def _most(wanted: int, most: int | None, now: int, now_most: int) -> int:
    """The limit: the one asked for, or headroom that is there already, or none."""
    if most is not None:
        return most
    return now_most if now_most > now and wanted <= now_most else wanted


def _edit_cpus(root: Element, spec: pb.VirtualMachine) -> None:
    now, now_most = cpus_of(root)
    wanted = spec.cpus if spec.HasField("cpus") else now
    limit = spec.max_cpus if spec.HasField("max_cpus") else None
    if limit is not None and not spec.HasField("cpus"):
        wanted = min(wanted, limit)
    most = _most(wanted, limit, now, now_most)
    if (wanted, most) == (now, now_most):
        return
    element = ensure(root, "vcpu")
    element.text = str(most)
    element.attrib.pop("current", None)
    if wanted < most:
        element.set("current", str(wanted))
    drop(root, "vcpus")
    cpu = root.find("cpu")
    if cpu is not None and most != now_most:
        # Its product would have to be the new number.
        drop(cpu, "topology")


def _edit_memory(root: Element, spec: pb.VirtualMachine) -> None:
    now, now_most = memory_of(root)
    wanted = spec.memory if spec.HasField("memory") else now
    limit = spec.max_memory if spec.HasField("max_memory") else None
    if limit is not None and not spec.HasField("memory"):
        wanted = min(wanted, limit)
    most = _most(wanted, limit, now, now_most)
    if (wanted, most) != (now, now_most):
        set_size(root, "memory", most)
        set_size(root, "currentMemory", wanted)


def _edit_accelerator(root: Element, spec: pb.VirtualMachine, notes: Notes, host: Host) -> None:
    asked = pb.Accelerator.Name(spec.accelerator).removeprefix("ACCELERATOR_")
    if asked == "AUTO" == notes.accelerator:
        return
    notes.accelerator = asked
    domain_type = host.domain_type(spec.accelerator)
    root.set("type", domain_type)
    if domain_type == "qemu" and attribute(root, "cpu", "mode").startswith("host-"):
        drop(root, "cpu")


def _edit_machine_type(root: Element, spec: pb.VirtualMachine, notes: Notes) -> None:
    asked = checked(spec.machine_type, "machine_type")
    notes.machine = asked
    element = ensure(ensure(root, "os"), "type")
    actual = element.get("machine", "")
    if holds(asked, actual):
        return
    element.set("machine", asked)
    if not actual:
        return
    # Another board has other slots: libvirt gives new ones.
    devices = devices_of(root)
    for device in devices:
        for address in device.findall("address"):
            if address.get("type") == "pci":
                device.remove(address)
    for controller in devices.findall("controller"):
        if controller.get("type") == "pci":
            devices.remove(controller)


def _edit_firmware(root: Element, uefi: bool) -> None:
    if is_uefi(root) == uefi:
        return
    element = ensure(root, "os")
    element.attrib.pop("firmware", None)
    drop(element, "firmware", "loader", "nvram")
    if uefi:
        element.set("firmware", "efi")


def _edit_disks(devices: Element, spec: pb.VirtualMachine, notes: Notes, host: Host) -> None:
    seed = notes.seed.path if notes.seed is not None else ""
    there = {disks.target_of(e): e for e in devices.findall("disk") if disks.says(e) and not is_seed(e, seed)}
    wanted = {disk.target: disk for disk in spec.disks}
    for target, element in there.items():
        if target not in wanted:
            devices.remove(element)
    for target, disk in wanted.items():
        found = there.get(target)
        if found is None:
            found = disks.new_disk(target)
            devices.append(found)
        where = f"disks[{target}]"
        disks.write_disk(found, disk, block=disk.HasField("path") and host.is_block(disk.path), where=where)
        _add_scsi(devices, found)


def _add_scsi(devices: Element, disk: Element) -> None:
    """libvirt's own choice of a SCSI controller is one that few systems have a driver for."""
    if attribute(disk, "target", "bus") != "scsi":
        return
    if not any(c.get("type") == "scsi" for c in devices.findall("controller")):
        add(devices, "controller", {"type": "scsi", "index": "0", "model": "virtio-scsi"})


def _edit_interfaces(devices: Element, spec: pb.VirtualMachine) -> None:
    there = dict(interfaces.named_interfaces(devices))
    wanted = {interface.name: interface for interface in spec.interfaces}
    for name, element in there.items():
        if name not in wanted:
            devices.remove(element)
    for name, interface in wanted.items():
        found = there.get(name)
        if found is None:
            found = interfaces.new_interface()
            devices.append(found)
        interfaces.write_interface(found, interface, f"interfaces[{name}]")


def _edit_graphics(devices: Element, graphics: pb.Graphics) -> None:
    element = graphics_of(devices)
    wanted = _GRAPHICS_NAMES.get(graphics.type)
    if element is not None and element.get("type") != wanted:
        devices.remove(element)
        element = None
    if wanted is None:
        return
    if element is None:
        element = add(devices, "graphics", {"type": wanted, "port": "-1", "autoport": "yes"})
        add(element, "listen", {"type": "address", "address": "127.0.0.1"})
    listening = element.get("listen") or attribute(element, "listen", "address")
    if graphics.HasField("listen") and graphics.listen != listening:
        element.attrib.pop("listen", None)
        drop(element, "listen")
        add(element, "listen", {"type": "address", "address": checked(graphics.listen, "graphics.listen")})
    if graphics.HasField("port"):
        element.set("port", str(graphics.port or -1))
        element.set("autoport", "no" if graphics.port else "yes")


def _edit_boot(root: Element, spec: pb.VirtualMachine) -> None:
    element = ensure(root, "os")
    if spec.HasField("boot"):
        order = [_BOOT_NAMES[device] for device in spec.boot.order]
        if [e.get("dev") for e in element.findall("boot")] != order:
            drop(element, "boot")
            for name in order:
                add(element, "boot", {"dev": name})
        for device_element in devices_of(root):
            # libvirt allows one way of ordering only.
            drop(device_element, "boot")
    if spec.HasField("direct_boot"):
        direct = spec.direct_boot
        for field, tag in (("kernel", "kernel"), ("initrd", "initrd"), ("command_line", "cmdline")):
            if has(direct, field):
                set_text(element, tag, checked_text(getattr(direct, field), f"direct_boot.{field}"))
        if element.find("kernel") is None:
            drop(element, "initrd", "cmdline")


def _add_ports(devices: Element, count: int) -> None:
    add(devices, "controller", {"type": "pci", "model": "pcie-root"})
    for _ in range(count):
        add(devices, "controller", {"type": "pci", "model": "pcie-root-port"})


def _edit_serial(devices: Element, wanted: bool) -> None:
    if wanted == (devices.find("serial") is not None):
        return
    for console in devices.findall("console"):
        if attribute(console, "target", "type") in ("", "serial"):
            devices.remove(console)
    drop(devices, "serial")
    if wanted:
        _add_serial(devices)


def _add_serial(devices: Element) -> None:
    add(add(devices, "serial", {"type": "pty"}), "target", {"port": "0"})
    add(add(devices, "console", {"type": "pty"}), "target", {"type": "serial", "port": "0"})


def _edit_seed(devices: Element, notes: Notes) -> None:
    """The seed's CD-ROM drive: the first free `sd` name. Seeds without a file have none."""
    if notes.seed is None or not notes.seed.path:
        return
    if any(is_seed(e, notes.seed.path) for e in devices.findall("disk")):
        taken = [disks.target_of(e) for e in devices.findall("disk")]
        if len(taken) == len(set(taken)):
            return
        for element in devices.findall("disk"):
            if is_seed(element, notes.seed.path):
                devices.remove(element)
    used = {disks.target_of(e) for e in devices.findall("disk")}
    target = next(
        name for name in (f"sd{letter}" for letter in "abcdefghijklmnopqrstuvwxyz") if name not in used
    )
    seed = add(devices, "disk", {"type": "file", "device": "cdrom"})
    add(seed, "driver", {"name": "qemu", "type": "raw"})
    add(seed, "source", {"file": notes.seed.path})
    add(seed, "target", {"dev": target, "bus": "sata"})
    add(seed, "readonly")


def drop_seed(root: Element, path: str) -> None:
    """Takes the seed's CD out."""
    devices = devices_of(root)
    for element in devices.findall("disk"):
        if is_seed(element, path):
            devices.remove(element)
