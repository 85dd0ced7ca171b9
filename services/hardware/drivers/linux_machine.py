"""Maker, model, firmware and kernel."""

from __future__ import annotations

import platform

from services.hardware.drivers.smbios import CHASSIS
from services.hardware.drivers.tree import Notes, Tree, as_root
from services.hardware.models.inventory import FirmwareType, Machine

DMI = "/sys/class/dmi/id"
EFI = "/sys/firmware/efi"
_SECURE_BOOT = f"{EFI}/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_PLACEHOLDERS = {
    "to be filled by o.e.m.",
    "default string",
    "system product name",
    "not specified",
    "system version",
}


def machine(tree: Tree, notes: Notes) -> Machine:
    """From DMI on PCs and servers, from the device tree on small boards; one of them, or neither, is there."""
    has_dmi, has_tree = tree.exists(DMI), tree.exists("/proc/device-tree/model")
    if not has_dmi and not has_tree:
        notes.absent("machine.product", "the firmware has neither an SMBIOS table nor a device tree")
    elif has_dmi and tree.text(f"{DMI}/product_serial") is None:
        notes.absent("machine.serial", f"{DMI}/product_serial is empty or can't be read{as_root()}")
    compatible = (tree.text("/proc/device-tree/compatible") or "").split("\0")
    chassis = tree.number(f"{DMI}/chassis_type")
    return Machine(
        vendor=_dmi(tree, "sys_vendor"),
        product=_dmi(tree, "product_name") or tree.text("/proc/device-tree/model"),
        version=_dmi(tree, "product_version"),
        serial=_dmi(tree, "product_serial") or tree.text("/proc/device-tree/serial-number"),
        uuid=_dmi(tree, "product_uuid"),
        family=_dmi(tree, "product_family"),
        chassis=None if chassis is None else CHASSIS.get(chassis),
        board_vendor=_dmi(tree, "board_vendor"),
        board_product=_dmi(tree, "board_name"),
        board_version=_dmi(tree, "board_version"),
        firmware_type=_firmware_type(tree, has_tree),
        uefi_bits=tree.number(f"{EFI}/fw_platform_size"),
        secure_boot=_secure_boot(tree, notes),
        firmware_vendor=_dmi(tree, "bios_vendor"),
        firmware_version=_dmi(tree, "bios_version"),
        firmware_date=_dmi(tree, "bios_date"),
        kernel_release=tree.text("/proc/sys/kernel/osrelease"),
        architecture=tree.text("/proc/sys/kernel/arch") or (platform.machine() if tree.live else None),
        tpm_version=_tpm(tree),
        compatible=tuple(text for text in compatible if text),
    )


def _dmi(tree: Tree, name: str) -> str | None:
    text = tree.text(f"{DMI}/{name}")
    return None if text is None or text.lower() in _PLACEHOLDERS else text


def _firmware_type(tree: Tree, has_tree: bool) -> FirmwareType:
    if tree.exists(EFI):
        return FirmwareType.UEFI
    if has_tree:
        return FirmwareType.DEVICE_TREE
    # A PC that does not start by UEFI has a BIOS, or a hypervisor that acts like one.
    return FirmwareType.BIOS if tree.exists("/proc/cpuinfo") else FirmwareType.UNSPECIFIED


def _secure_boot(tree: Tree, notes: Notes) -> bool | None:
    if not tree.exists(EFI):
        return None
    # Four bytes of attributes, then the value.
    value = tree.data(_SECURE_BOOT)
    if value is None or len(value) < 5:
        notes.absent("machine.secure_boot", "the UEFI variable SecureBoot can't be read")
        return None
    return value[4] == 1


def _tpm(tree: Tree) -> str | None:
    for name in tree.names("/sys/class/tpm"):
        return {"1": "1.2"}.get(
            major := tree.text(f"/sys/class/tpm/{name}/tpm_version_major") or "2", f"{major}.0"
        )
    return None
