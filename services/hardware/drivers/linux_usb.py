"""Devices on USB buses."""

from __future__ import annotations

from services.hardware.drivers.names import Names
from services.hardware.drivers.tree import Notes, Tree
from services.hardware.models.devices import UsbDevice, UsbInterface

DEVICES = "/sys/bus/usb/devices"


def usb_devices(tree: Tree, names: Names, notes: Notes) -> tuple[UsbDevice, ...]:
    """All devices with their interfaces, root hubs too."""
    entries = tree.names(DEVICES)
    if not tree.exists("/sys/bus/usb"):
        notes.absent("usb_devices", "the kernel has no USB support or no USB bus")
    devices = [name for name in entries if ":" not in name]
    return tuple(
        _device(tree, names, path, [name for name in entries if name.startswith(f"{path}:")])
        for path in devices
    )


def _device(tree: Tree, names: Names, path: str, interfaces: list[str]) -> UsbDevice:
    folder = f"{DEVICES}/{path}"
    vendor, product = tree.text(f"{folder}/idVendor"), tree.text(f"{folder}/idProduct")
    speed = tree.text(f"{folder}/speed")
    power = (tree.text(f"{folder}/bMaxPower") or "").removesuffix("mA")
    return UsbDevice(
        path=path,
        bus=tree.number(f"{folder}/busnum"),
        number=tree.number(f"{folder}/devnum"),
        vendor_id=vendor,
        product_id=product,
        vendor=tree.text(f"{folder}/manufacturer") or (names.usb_vendor(vendor) if vendor else None),
        product=tree.text(f"{folder}/product")
        or (names.usb_product(vendor, product) if vendor and product else None),
        serial=tree.text(f"{folder}/serial"),
        class_id=tree.text(f"{folder}/bDeviceClass"),
        usb_version=tree.text(f"{folder}/version"),
        device_version=tree.text(f"{folder}/bcdDevice"),
        speed=float(speed) if speed and speed.replace(".", "", 1).isdigit() else None,
        maximum_power=int(power) if power.isdigit() else None,
        interfaces=tuple(_interface(tree, name) for name in interfaces),
    )


def _interface(tree: Tree, name: str) -> UsbInterface:
    folder = f"{DEVICES}/{name}"
    parts = [tree.text(f"{folder}/bInterface{part}") for part in ("Class", "SubClass", "Protocol")]
    return UsbInterface(
        number=tree.number(f"{folder}/bInterfaceNumber", 16),
        class_id="".join(part for part in parts if part) if None not in parts else None,
        driver=tree.link(f"{folder}/driver"),
        module=tree.link(f"{folder}/driver/module"),
    )
