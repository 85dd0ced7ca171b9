"""Devices on PCI buses."""

from __future__ import annotations

import re

from services.hardware.drivers import pci_config
from services.hardware.drivers.names import Names
from services.hardware.drivers.tree import Notes, Tree, as_root
from services.hardware.models.devices import BusChild, PciDevice, PciResource

DEVICES = "/sys/bus/pci/devices"

_ADDRESS = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
# Bits of the kernel's `resource` file (include/linux/ioport.h).
_IO, _MEMORY, _PREFETCH = 0x100, 0x200, 0x2000
_ROM = 6
# Folders of a device that hold no devices.
_NO_DEVICES = {
    "power",
    "msi_irqs",
    "link",
    "firmware_node",
    "driver",
    "subsystem",
    "iommu",
    "iommu_group",
    "resources",
}


def pci_devices(tree: Tree, names: Names, notes: Notes) -> tuple[PciDevice, ...]:
    """All functions, by address."""
    addresses = tree.names(DEVICES)
    if not addresses:
        notes.absent("pci_devices", "the kernel knows no PCI bus")
    if addresses and not names.source:
        notes.absent(
            "pci_devices.vendor", "no hardware database: neither udev's hwdb.bin nor pci.ids is installed"
        )
    return tuple(_device(tree, names, notes, address) for address in addresses)


def _device(tree: Tree, names: Names, notes: Notes, address: str) -> PciDevice:
    folder = f"{DEVICES}/{address}"
    real = tree.real(folder)
    vendor, device = _hex(tree, f"{folder}/vendor", 4), _hex(tree, f"{folder}/device", 4)
    card_vendor, card = (_hex(tree, f"{folder}/subsystem_{name}", 4) for name in ("vendor", "device"))
    code = _hex(tree, f"{folder}/class", 6)
    with tree.opened(f"{folder}/config") as read:
        space = pci_config.parse(read)
    if space is None:
        notes.absent("pci_devices.capabilities", f"configuration space can't be read{as_root()}")
    has_card = card_vendor is not None and card_vendor != "0000"
    numa_node = tree.number(f"{folder}/numa_node")
    return PciDevice(
        address=address,
        vendor_id=vendor,
        device_id=device,
        vendor=names.pci_vendor(vendor) if vendor else None,
        product=names.pci_device(vendor, device) if vendor and device else None,
        class_id=code,
        class_name=names.pci_class(code) if code else None,
        subsystem_vendor_id=card_vendor if has_card else None,
        subsystem_device_id=card if has_card else None,
        subsystem_vendor=names.pci_vendor(card_vendor) if has_card and card_vendor else None,
        subsystem_product=(
            names.pci_card(vendor, device, card_vendor, card)
            if has_card and vendor and device and card_vendor and card
            else None
        ),
        revision=_hex(tree, f"{folder}/revision", 2),
        driver=tree.link(f"{folder}/driver"),
        module=tree.link(f"{folder}/driver/module"),
        parent=parent if _ADDRESS.fullmatch(parent := real.split("/")[-2]) else None,
        irq=tree.number(f"{folder}/irq") or None,
        numa_node=numa_node if numa_node is not None and numa_node >= 0 else None,
        iommu_group=int(group) if (group := tree.link(f"{folder}/iommu_group")) and group.isdigit() else None,
        width=space.width if space else None,
        clock=space.clock if space else None,
        latency=space.latency if space else None,
        bus_master=space.bus_master if space else None,
        capabilities=space.capabilities if space else (),
        resources=_resources(tree.text(f"{folder}/resource") or ""),
        link_speed=_link(tree, folder, "current_link_speed"),
        link_width=_lanes(tree, folder, "current_link_width"),
        maximum_link_speed=_link(tree, folder, "max_link_speed"),
        maximum_link_width=_lanes(tree, folder, "max_link_width"),
        modalias=tree.text(f"{folder}/modalias"),
        children=_children(tree, real),
    )


def _hex(tree: Tree, path: str, digits: int) -> str | None:
    number = tree.number(path, 16)
    return None if number is None else f"{number:0{digits}x}"


def _link(tree: Tree, folder: str, name: str) -> str | None:
    text = tree.text(f"{folder}/{name}")
    return None if text is None or text.startswith("Unknown") else text


def _lanes(tree: Tree, folder: str, name: str) -> int | None:
    lanes = tree.number(f"{folder}/{name}")
    return lanes if lanes and lanes < 255 else None


def _resources(text: str) -> tuple[PciResource, ...]:
    """Lines of start, end and flags, all hexadecimal; the seventh is the ROM."""
    found = []
    for index, line in enumerate(text.splitlines()):
        start, end, flags = (int(word, 16) for word in (*line.split(), "0", "0", "0")[:3])
        if end == 0:
            continue
        kind = "rom" if index == _ROM else "ioport" if flags & _IO else "memory" if flags & _MEMORY else None
        if kind:
            found.append(PciResource(kind, start, end - start + 1, bool(flags & _PREFETCH)))
    return tuple(found)


def _children(tree: Tree, folder: str) -> tuple[BusChild, ...]:
    """Devices directly below, also where the kernel puts them into a folder of their class (`net/eth0`)."""
    found = []
    for name in tree.names(folder):
        if name in _NO_DEVICES or _ADDRESS.fullmatch(name) or not tree.is_folder(f"{folder}/{name}"):
            continue
        if subsystem := tree.link(f"{folder}/{name}/subsystem"):
            found.append(BusChild(name, subsystem, tree.link(f"{folder}/{name}/driver")))
            continue
        for inner in tree.names(f"{folder}/{name}"):
            if subsystem := tree.link(f"{folder}/{name}/{inner}/subsystem"):
                found.append(BusChild(inner, subsystem, tree.link(f"{folder}/{name}/{inner}/driver")))
    return tuple(found)
