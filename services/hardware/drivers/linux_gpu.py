"""Graphics processors: what PCI says of them, and what DRM adds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from services.hardware.drivers.tree import Notes, Tree
from services.hardware.models.devices import Connector, Gpu, PciDevice

DRM = "/sys/class/drm"
_CARD = re.compile(r"card[0-9]+")
_NODE = re.compile(r"(card|renderD)[0-9]+")


def gpus(tree: Tree, pci: Sequence[PciDevice], notes: Notes) -> tuple[Gpu, ...]:
    """Those on PCI by address, bound to a driver or not; then those from the device tree."""
    if not tree.exists(DRM):
        notes.absent("gpus.nodes", "the kernel has no DRM driver loaded")
    nodes = [name for name in tree.names(DRM) if _NODE.fullmatch(name)]
    by_device: dict[str, list[str]] = {}
    for node in nodes:
        by_device.setdefault(tree.real(f"{DRM}/{node}/device"), []).append(node)
    found = []
    for device in pci:
        # Class 03: display controllers.
        if (device.class_id or "").startswith("03"):
            folder = tree.real(f"/sys/bus/pci/devices/{device.address}")
            found.append(_on_pci(tree, device, folder, by_device.pop(folder, [])))
    for folder, own in sorted(by_device.items()):
        if any(_CARD.fullmatch(node) for node in own):
            found.append(_elsewhere(tree, folder, own))
    return tuple(found)


def _on_pci(tree: Tree, device: PciDevice, folder: str, nodes: list[str]) -> Gpu:
    return Gpu(
        pci_address=device.address,
        vendor=device.vendor,
        product=device.product,
        vendor_id=device.vendor_id,
        device_id=device.device_id,
        driver=device.driver,
        memory=tree.number(f"{folder}/mem_info_vram_total"),
        boot_display=tree.flag(f"{folder}/boot_vga"),
        nodes=tuple(nodes),
        connectors=_connectors(tree, nodes),
    )


def _elsewhere(tree: Tree, folder: str, nodes: list[str]) -> Gpu:
    """A graphics processor that is part of a system on a chip, or a virtual one."""
    properties = tree.properties(f"{folder}/uevent")
    return Gpu(
        platform_path=properties.get("OF_FULLNAME") or folder,
        vendor=(properties.get("OF_COMPATIBLE_0") or "").partition(",")[0] or None,
        product=properties.get("OF_COMPATIBLE_0"),
        driver=tree.link(f"{folder}/driver") or properties.get("DRIVER"),
        nodes=tuple(nodes),
        connectors=_connectors(tree, nodes),
    )


def _connectors(tree: Tree, nodes: Sequence[str]) -> tuple[Connector, ...]:
    found = []
    for card in nodes:
        if not _CARD.fullmatch(card):
            continue
        for name in tree.names(f"{DRM}/{card}"):
            status = tree.text(f"{DRM}/{card}/{name}/status") if name.startswith(f"{card}-") else None
            if status is not None:
                modes = (tree.text(f"{DRM}/{card}/{name}/modes") or "").split()
                found.append(Connector(name.removeprefix(f"{card}-"), status, tuple(dict.fromkeys(modes))))
    return tuple(found)
