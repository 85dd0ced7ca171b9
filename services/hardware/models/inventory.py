"""The machine as a whole.

Fields mean what the messages of the same name in inventory.proto say; None: not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from services.hardware.models.devices import Gpu, NetworkInterface, PciDevice, UsbDevice
from services.hardware.models.storage import BlockDevice, FileSystem, SmartReport, SwapSpace


class Part(StrEnum):
    """A part of the inventory; named as in hardware.proto, in lower case."""

    MACHINE = "machine"
    VIRTUALIZATION = "virtualization"
    PROCESSOR = "processor"
    MEMORY = "memory"
    PCI = "pci"
    USB = "usb"
    GPUS = "gpus"
    BLOCK = "block"
    FILE_SYSTEMS = "file_systems"
    NETWORK = "network"
    SENSORS = "sensors"
    POWER = "power"
    SMART = "smart"


# What a scan reads when nothing is said: all that is quick.
QUICK_PARTS = frozenset(Part) - {Part.SMART}


class FirmwareType(StrEnum):
    """What starts the machine."""

    UNSPECIFIED = "unspecified"
    UEFI = "uefi"
    BIOS = "bios"
    DEVICE_TREE = "device_tree"


@dataclass(frozen=True, slots=True)
class Inventory:
    """The machine at one moment."""

    time: datetime | None = None
    duration: timedelta | None = None
    machine: Machine | None = None
    virtualization: Virtualization | None = None
    processor: Processor | None = None
    memory: Memory | None = None
    pci_devices: tuple[PciDevice, ...] = ()
    usb_devices: tuple[UsbDevice, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    block_devices: tuple[BlockDevice, ...] = ()
    file_systems: tuple[FileSystem, ...] = ()
    swap_spaces: tuple[SwapSpace, ...] = ()
    network_interfaces: tuple[NetworkInterface, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    power_supplies: tuple[PowerSupply, ...] = ()
    smart_reports: tuple[SmartReport, ...] = ()
    absences: tuple[Absence, ...] = ()
    timings: tuple[PartTiming, ...] = ()


@dataclass(frozen=True, slots=True)
class Absence:
    """A fact that could not be read."""

    fact: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PartTiming:
    """How long a part of the scan took."""

    part: str | None = None
    duration: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """Maker, model, board and firmware."""

    vendor: str | None = None
    product: str | None = None
    version: str | None = None
    serial: str | None = None
    uuid: str | None = None
    family: str | None = None
    chassis: str | None = None
    board_vendor: str | None = None
    board_product: str | None = None
    board_version: str | None = None
    firmware_type: FirmwareType = FirmwareType.UNSPECIFIED
    uefi_bits: int | None = None
    secure_boot: bool | None = None
    firmware_vendor: str | None = None
    firmware_version: str | None = None
    firmware_date: str | None = None
    kernel_release: str | None = None
    architecture: str | None = None
    tpm_version: str | None = None
    compatible: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Virtualization:
    """Whether this is a real machine. Identifiers are systemd-detect-virt's."""

    hypervisor: str | None = None
    container: str | None = None
    kvm_available: bool | None = None


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor, all sockets together."""

    vendor: str | None = None
    model: str | None = None
    family: int | None = None
    model_number: int | None = None
    stepping: int | None = None
    microcode: str | None = None
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    numa_nodes: int | None = None
    minimum_khz: int | None = None
    maximum_khz: int | None = None
    current_khz: int | None = None
    governor: str | None = None
    available_governors: tuple[str, ...] = ()
    frequency_driver: str | None = None
    flags: tuple[str, ...] = ()
    bugs: tuple[str, ...] = ()
    caches: tuple[Cache, ...] = ()
    vulnerabilities: tuple[Vulnerability, ...] = ()
    physical_address_bits: int | None = None
    virtual_address_bits: int | None = None


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache."""

    level: int | None = None
    type: str | None = None
    size: int | None = None
    instances: int | None = None
    ways: int | None = None
    line_size: int | None = None


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """What the kernel thinks of one attack."""

    name: str | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory."""

    total: int | None = None
    available: int | None = None
    installed: int | None = None
    swap_total: int | None = None
    swap_free: int | None = None
    slots: int | None = None
    maximum_capacity: int | None = None
    error_correction: str | None = None
    modules: tuple[MemoryModule, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryModule:
    """A memory module, or an empty socket."""

    locator: str | None = None
    bank: str | None = None
    size: int | None = None
    type: str | None = None
    form_factor: str | None = None
    speed: int | None = None
    configured_speed: int | None = None
    manufacturer: str | None = None
    part_number: str | None = None
    serial: str | None = None
    data_width: int | None = None
    total_width: int | None = None
    rank: int | None = None
    millivolts: int | None = None


@dataclass(frozen=True, slots=True)
class Sensor:
    """One reading."""

    chip: str | None = None
    label: str | None = None
    type: str | None = None
    value: float | None = None
    unit: str | None = None
    high: float | None = None
    critical: float | None = None


@dataclass(frozen=True, slots=True)
class PowerSupply:
    """A battery or a mains adapter."""

    name: str | None = None
    type: str | None = None
    status: str | None = None
    online: bool | None = None
    percent: int | None = None
    energy: float | None = None
    energy_full: float | None = None
    energy_design: float | None = None
    power: float | None = None
    cycles: int | None = None
    technology: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    health: float | None = None
