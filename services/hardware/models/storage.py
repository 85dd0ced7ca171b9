"""Disks, file systems and swap.

Fields mean what the messages of the same name in storage.proto say; None: not known.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk, a partition, or what is built on them."""

    name: str | None = None
    kernel_name: str | None = None
    path: str | None = None
    type: str | None = None
    major_minor: str | None = None
    parents: tuple[str, ...] = ()
    size: int | None = None
    read_only: bool | None = None
    removable: bool | None = None
    hotplug: bool | None = None
    rotational: bool | None = None
    model: str | None = None
    vendor: str | None = None
    serial: str | None = None
    revision: str | None = None
    wwn: str | None = None
    transport: str | None = None
    hctl: str | None = None
    driver: str | None = None
    subsystems: str | None = None
    state: str | None = None
    owner: str | None = None
    group: str | None = None
    mode: str | None = None
    queue: BlockQueue | None = None
    zones: BlockZones | None = None
    table: PartitionTable | None = None
    partition: PartitionEntry | None = None
    content: Signature | None = None
    mount_points: tuple[str, ...] = ()
    backing_file: str | None = None
    mapper_uuid: str | None = None
    holders: tuple[str, ...] = ()
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockQueue:
    """How a block device likes to be used."""

    logical_sector_size: int | None = None
    physical_sector_size: int | None = None
    minimum_io: int | None = None
    optimal_io: int | None = None
    alignment_offset: int | None = None
    discard_alignment: int | None = None
    discard_granularity: int | None = None
    discard_maximum: int | None = None
    discard_zeroes: bool | None = None
    write_same_maximum: int | None = None
    read_ahead: int | None = None
    scheduler: str | None = None
    requests: int | None = None
    adds_randomness: bool | None = None
    dax: bool | None = None
    write_cache: str | None = None


@dataclass(frozen=True, slots=True)
class BlockZones:
    """Zones of a block device."""

    model: str | None = None
    size: int | None = None
    write_granularity: int | None = None
    append_maximum: int | None = None
    count: int | None = None
    open_maximum: int | None = None
    active_maximum: int | None = None


@dataclass(frozen=True, slots=True)
class PartitionTable:
    """A partition table."""

    type: str | None = None
    uuid: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionEntry:
    """A partition's entry in its table."""

    number: int | None = None
    start: int | None = None
    type: str | None = None
    type_name: str | None = None
    uuid: str | None = None
    label: str | None = None
    flags: str | None = None


@dataclass(frozen=True, slots=True)
class Signature:
    """What a block device holds, as its first bytes tell."""

    type: str | None = None
    version: str | None = None
    label: str | None = None
    uuid: str | None = None
    usage: str | None = None


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A mounted file system."""

    mount_point: str | None = None
    source: str | None = None
    root: str | None = None
    type: str | None = None
    options: tuple[str, ...] = ()
    major_minor: str | None = None
    read_only: bool | None = None
    virtual: bool | None = None
    size: int | None = None
    used: int | None = None
    available: int | None = None
    inodes: int | None = None
    inodes_free: int | None = None


@dataclass(frozen=True, slots=True)
class SwapSpace:
    """Swap in use."""

    path: str | None = None
    type: str | None = None
    size: int | None = None
    used: int | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class SmartReport:
    """What a disk says of its own health."""

    path: str | None = None
    passed: bool | None = None
    temperature: int | None = None
    power_on_hours: int | None = None
    power_cycles: int | None = None
    percentage_used: int | None = None
    reallocated_sectors: int | None = None
    pending_sectors: int | None = None
    media_errors: int | None = None
    bytes_written: int | None = None
