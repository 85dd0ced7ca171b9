"""Reads partition tables: GPT (UEFI 2.10, section 5.3) and the PC's own."""

from __future__ import annotations

import uuid

from services.hardware.drivers.signatures import Read
from services.hardware.models.storage import PartitionEntry, PartitionTable

Partitions = dict[int, PartitionEntry]

# Names as fdisk and lsblk print them.
_GPT_NAMES = {
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI System",
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "024dee41-33e7-11d3-9d69-0008c781f39f": "MBR partition scheme",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux filesystem",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux home",
    "3b8f8425-20e0-4f3b-907f-1a25a76f98e8": "Linux server data",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "Linux root (ARM-64)",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux extended boot",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "ca7d7ccb-63ed-4c53-861c-1742536059cc": "Linux LUKS",
    "8da63339-0007-60c0-c436-083ac8230908": "Linux reserved",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac": "Windows recovery environment",
    "6a898cc3-1dd2-11b2-99a6-080020736631": "Solaris /usr & Apple ZFS",
    "48465300-0000-11aa-aa11-00306543ecac": "Apple HFS/HFS+",
    "7c3457ef-0000-11aa-aa11-00306543ecac": "Apple APFS",
}
_DOS_NAMES = {
    0x01: "FAT12",
    0x05: "Extended",
    0x06: "FAT16",
    0x07: "HPFS/NTFS/exFAT",
    0x0B: "W95 FAT32",
    0x0C: "W95 FAT32 (LBA)",
    0x0E: "W95 FAT16 (LBA)",
    0x0F: "W95 Ext'd (LBA)",
    0x82: "Linux swap / Solaris",
    0x83: "Linux",
    0x85: "Linux extended",
    0x8E: "Linux LVM",
    0xEF: "EFI (FAT-12/16/32)",
    0xFD: "Linux raid autodetect",
}
_EXTENDED = {0x05, 0x0F, 0x85}
# Where every table ends, whatever a broken one says.
_MOST = 256


def read_table(read: Read, sector: int) -> tuple[PartitionTable, Partitions] | None:
    """The table and its entries by number; None: there is none. `sector` is the logical sector's size in bytes."""
    start = read(0, 512)
    if len(start) < 512 or start[510:512] != b"\x55\xaa":
        return None
    types = [start[446 + 16 * index + 4] for index in range(4)]
    if 0xEE in types:
        return _gpt(read, sector)
    flags = [start[446 + 16 * index] for index in range(4)]
    # A file system's boot sector ends with the same two bytes.
    if (
        not any(types)
        or any(flag not in (0, 0x80) for flag in flags)
        or start[54:57] == b"FAT"
        or start[82:85] == b"FAT"
    ):
        return None
    return _dos(read, start, sector)


def type_name(kind: str) -> str | None:
    """The name of a partition's type: a GUID, or `0x83`."""
    return _DOS_NAMES.get(int(kind, 16)) if kind.startswith("0x") else _GPT_NAMES.get(kind.lower())


def _gpt(read: Read, sector: int) -> tuple[PartitionTable, Partitions] | None:
    header = read(sector, 92)
    if header[:8] != b"EFI PART":
        return None
    first, count, size = (int.from_bytes(header[a:b], "little") for a, b in ((72, 80), (80, 84), (84, 88)))
    if not 128 <= size <= 4096:
        return None
    entries: Partitions = {}
    data = read(first * sector, min(count, _MOST) * size)
    for number in range(1, len(data) // size + 1):
        entry = data[(number - 1) * size : number * size]
        if not any(entry[:16]):
            continue
        kind = str(uuid.UUID(bytes_le=entry[:16]))
        flags = int.from_bytes(entry[48:56], "little")
        entries[number] = PartitionEntry(
            number=number,
            start=int.from_bytes(entry[32:40], "little") * sector // 512,
            type=kind,
            type_name=_GPT_NAMES.get(kind),
            uuid=str(uuid.UUID(bytes_le=entry[16:32])),
            label=entry[56:128].decode("utf-16-le", "replace").split("\0")[0] or None,
            flags=f"0x{flags:x}" if flags else None,
        )
    return PartitionTable("gpt", str(uuid.UUID(bytes_le=header[56:72]))), entries


def _dos(read: Read, start: bytes, sector: int) -> tuple[PartitionTable, Partitions]:
    disk = f"{int.from_bytes(start[440:444], 'little'):08x}"
    entries: Partitions = {}
    extended = 0
    for index in range(4):
        entry = start[446 + 16 * index : 462 + 16 * index]
        if entry[4]:
            entries[index + 1] = _dos_entry(entry, index + 1, 0, disk, sector)
            if entry[4] in _EXTENDED:
                extended = int.from_bytes(entry[8:12], "little")
    block, number = extended, 5
    while block and number < _MOST:
        data = read(block * sector, 512)
        if data[510:512] != b"\x55\xaa":
            break
        logical, following = data[446:462], data[462:478]
        if logical[4]:
            entries[number] = _dos_entry(logical, number, block, disk, sector)
            number += 1
        step = int.from_bytes(following[8:12], "little") if following[4] in _EXTENDED else 0
        block = extended + step if step else 0
    return PartitionTable("dos", disk), entries


def _dos_entry(entry: bytes, number: int, base: int, disk: str, sector: int) -> PartitionEntry:
    return PartitionEntry(
        number=number,
        start=(base + int.from_bytes(entry[8:12], "little")) * sector // 512,
        type=f"0x{entry[4]:x}",
        type_name=_DOS_NAMES.get(entry[4]),
        uuid=f"{disk}-{number:02x}",
        flags="0x80" if entry[0] == 0x80 else None,
    )
