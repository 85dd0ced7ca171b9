"""Devices on buses, graphics and network interfaces.

Fields mean what the messages of the same name in devices.proto say; None: not known.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A function of a device on a PCI bus."""

    address: str | None = None
    vendor_id: str | None = None
    device_id: str | None = None
    vendor: str | None = None
    product: str | None = None
    class_id: str | None = None
    class_name: str | None = None
    subsystem_vendor_id: str | None = None
    subsystem_device_id: str | None = None
    subsystem_vendor: str | None = None
    subsystem_product: str | None = None
    revision: str | None = None
    driver: str | None = None
    module: str | None = None
    parent: str | None = None
    irq: int | None = None
    numa_node: int | None = None
    iommu_group: int | None = None
    width: int | None = None
    clock: int | None = None
    latency: int | None = None
    bus_master: bool | None = None
    capabilities: tuple[str, ...] = ()
    resources: tuple[PciResource, ...] = ()
    link_speed: str | None = None
    link_width: int | None = None
    maximum_link_speed: str | None = None
    maximum_link_width: int | None = None
    modalias: str | None = None
    children: tuple[BusChild, ...] = ()


@dataclass(frozen=True, slots=True)
class PciResource:
    """A range of a PCI device."""

    type: str | None = None
    start: int | None = None
    size: int | None = None
    prefetchable: bool | None = None


@dataclass(frozen=True, slots=True)
class BusChild:
    """A device that another one carries."""

    name: str | None = None
    subsystem: str | None = None
    driver: str | None = None


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """A device on a USB bus."""

    path: str | None = None
    bus: int | None = None
    number: int | None = None
    vendor_id: str | None = None
    product_id: str | None = None
    vendor: str | None = None
    product: str | None = None
    serial: str | None = None
    class_id: str | None = None
    usb_version: str | None = None
    device_version: str | None = None
    speed: float | None = None
    maximum_power: int | None = None
    interfaces: tuple[UsbInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class UsbInterface:
    """An interface of a USB device."""

    number: int | None = None
    class_id: str | None = None
    driver: str | None = None
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor."""

    pci_address: str | None = None
    platform_path: str | None = None
    vendor: str | None = None
    product: str | None = None
    vendor_id: str | None = None
    device_id: str | None = None
    driver: str | None = None
    memory: int | None = None
    boot_display: bool | None = None
    nodes: tuple[str, ...] = ()
    connectors: tuple[Connector, ...] = ()


@dataclass(frozen=True, slots=True)
class Connector:
    """Where a display is plugged in."""

    name: str | None = None
    status: str | None = None
    modes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """A network interface."""

    name: str | None = None
    index: int | None = None
    type: str | None = None
    physical: bool | None = None
    mac: str | None = None
    permanent_mac: str | None = None
    mtu: int | None = None
    state: str | None = None
    enabled: bool | None = None
    carrier: bool | None = None
    speed: int | None = None
    duplex: str | None = None
    autonegotiation: bool | None = None
    port: str | None = None
    capacity: int | None = None
    link_modes: tuple[str, ...] = ()
    driver: str | None = None
    driver_version: str | None = None
    firmware_version: str | None = None
    bus_address: str | None = None
    bus: str | None = None
    vendor: str | None = None
    product: str | None = None
    master: str | None = None
    flags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
