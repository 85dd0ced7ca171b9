"""The nouns that drivers and kinds share. Frozen; sizes in bytes, times in seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """What a machine is doing."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    OFF = "OFF"
    CRASHED = "CRASHED"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the hypervisor has it: `stored` is the XML of its next start, `live` that of the running one.

    One that is not `persistent` is gone once it is off.
    """

    name: str
    uuid: str
    state: State
    reason: str
    autostart: bool
    persistent: bool
    stored: str
    live: str | None = None

    @property
    def active(self) -> bool:
        """A process of it exists."""
        return self.live is not None


@dataclass(frozen=True, slots=True)
class Network:
    """A network: `stored`, `live` and `persistent` as for machines."""

    name: str
    autostart: bool
    stored: str
    live: str | None = None
    persistent: bool = True


@dataclass(frozen=True, slots=True)
class Pool:
    """A storage pool."""

    name: str
    autostart: bool
    active: bool
    stored: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume; `xml` is libvirt's description."""

    pool: str
    name: str
    path: str
    xml: str


@dataclass(frozen=True, slots=True)
class Image:
    """A disk image or block device on the host; `format` is `raw` or `qcow2`."""

    path: str
    format: str
    size: int
    backing: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A machine's earlier state."""

    name: str
    description: str
    created: int
    state: State
    parent: str
    current: bool


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a machine's interface, with the length of its prefix."""

    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class DiskStats:
    """Counters of a disk."""

    target: str
    read_bytes: int
    written_bytes: int
    reads: int
    writes: int


@dataclass(frozen=True, slots=True)
class InterfaceStats:
    """Counters of a network interface, as the machine sees them."""

    device: str
    received_bytes: int
    sent_bytes: int
    received_packets: int
    sent_packets: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What a machine used; None: not known here."""

    name: str
    state: State
    cpu_time_ns: int | None = None
    memory: int | None = None
    memory_resident: int | None = None
    memory_unused: int | None = None
    disks: tuple[DiskStats, ...] = field(default=())
    interfaces: tuple[InterfaceStats, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """The hypervisor and its host. `domain_types` are libvirt's: `kvm`, `qemu`, `test`."""

    uri: str
    type: str
    version: str
    libvirt_version: str
    hostname: str
    architecture: str
    cpus: int
    memory: int
    domain_types: tuple[str, ...]
    uefi: bool = False


class Subject(StrEnum):
    """What an event is about."""

    MACHINE = "MACHINE"
    NETWORK = "NETWORK"
    POOL = "POOL"


@dataclass(frozen=True, slots=True)
class Event:
    """Something of that name changed; an empty name: events were lost, all may have changed."""

    subject: Subject
    name: str
