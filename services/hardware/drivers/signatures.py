"""Tells what a block device or image holds by its first bytes, as libblkid does; reads a few sectors only."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import pairwise

from services.hardware.models.storage import Signature

# Gives up to so many bytes from an offset.
Read = Callable[[int, int], bytes]

_EXT_EXTENTS_AND_LATER = 0x0040 | 0x0080 | 0x0100 | 0x0200 | 0x0400 | 0x1000 | 0x8000 | 0x10000
_EXT_RO_OF_EXT4 = 0x0008 | 0x0010 | 0x0020 | 0x0040 | 0x0200 | 0x0400
_BCACHE = bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")
_BCACHEFS = bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")


def probe(read: Read) -> Signature | None:
    """None: nothing that is known here."""
    start = read(0, 8192)
    if len(start) < 512:
        return None
    for recognise in (_luks, _lvm, _raid, _swap, _bcache, _xfs, _squashfs, _ntfs, _exfat, _vfat):
        if found := recognise(start):
            return found
    for recognise in (_ext, _f2fs, _erofs):
        if found := recognise(start[1024:]):
            return found
    return _btrfs(read(0x10000, 0x400)) or _iso9660(read(0x8000, 0x400)) or _zfs(read)


def swap_label(read: Read) -> str | None:
    """The label of a swap signature, empty where it has none; None: no swap signature."""
    found = _swap(read(0, 8192))
    return None if found is None else found.label or ""


def _luks(data: bytes) -> Signature | None:
    if data[:6] != b"LUKS\xba\xbe":
        return None
    version = int.from_bytes(data[6:8], "big")
    label = _text(data[24:72]) if version == 2 else None
    return Signature("crypto_LUKS", str(version), label, _text(data[168:208]), "crypto")


def _lvm(data: bytes) -> Signature | None:
    for sector in range(0, 2048, 512):
        if data[sector : sector + 8] == b"LABELONE" and data[sector + 24 : sector + 32] == b"LVM2 001":
            offset = sector + int.from_bytes(data[sector + 20 : sector + 24], "little")
            raw = data[offset : offset + 32].decode("ascii", "replace")
            cuts = (0, 6, 10, 14, 18, 22, 26, 32)
            name = "-".join(raw[a:b] for a, b in pairwise(cuts))
            return Signature("LVM2_member", "LVM2 001", None, name, "raid")
    return None


def _raid(data: bytes) -> Signature | None:
    """Metadata 1.1 and 1.2; older ones lie at the device's end."""
    for offset, version in ((0, "1.1"), (4096, "1.2")):
        if data[offset : offset + 4] == b"\xfc\x4e\x2b\xa9":
            block = data[offset : offset + 128]
            return Signature("linux_raid_member", version, _text(block[32:64]), _uuid(block[16:32]), "raid")
    return None


def _swap(data: bytes) -> Signature | None:
    if data[4086:4096] not in (b"SWAPSPACE2", b"SWAP-SPACE"):
        return None
    version = int.from_bytes(data[1024:1028], "little")
    return Signature("swap", str(version), _text(data[1052:1068]), _uuid(data[1036:1052]), "other")


def _bcache(data: bytes) -> Signature | None:
    block = data[4096:4224]
    if block[24:40] == _BCACHE:
        return Signature("bcache", None, _text(block[72:104]), _uuid(block[40:56]), "other")
    if block[24:40] == _BCACHEFS:
        return Signature("bcachefs", None, _text(block[72:104]), _uuid(block[56:72]), "filesystem")
    return None


def _xfs(data: bytes) -> Signature | None:
    if data[:4] != b"XFSB":
        return None
    return Signature("xfs", None, _text(data[108:120]), _uuid(data[32:48]), "filesystem")


def _squashfs(data: bytes) -> Signature | None:
    if data[:4] != b"hsqs":
        return None
    major, minor = (int.from_bytes(data[offset : offset + 2], "little") for offset in (28, 30))
    return Signature("squashfs", f"{major}.{minor}", None, None, "filesystem")


def _ntfs(data: bytes) -> Signature | None:
    if data[3:11] != b"NTFS    ":
        return None
    return Signature("ntfs", None, None, f"{int.from_bytes(data[72:80], 'little'):016X}", "filesystem")


def _exfat(data: bytes) -> Signature | None:
    if data[3:11] != b"EXFAT   ":
        return None
    return Signature("exfat", f"{data[105]}.{data[104]}", None, _serial(data[100:104]), "filesystem")


def _vfat(data: bytes) -> Signature | None:
    if data[510:512] != b"\x55\xaa":
        return None
    for version, name, serial in (("FAT32", 82, 67), ("FAT16", 54, 39), ("FAT12", 54, 39)):
        if data[name : name + 8] == version.ljust(8).encode():
            label = _text(data[serial + 4 : serial + 15])
            known = None if label == "NO NAME" else label
            return Signature("vfat", version, known, _serial(data[serial : serial + 4]), "filesystem")
    return None


def _ext(data: bytes) -> Signature | None:
    if data[56:58] != b"\x53\xef":
        return None
    compatible, incompatible, read_only = (int.from_bytes(data[o : o + 4], "little") for o in (92, 96, 100))
    name = "ext3" if compatible & 0x4 else "ext2"
    if incompatible & 0x8:
        name = "jbd"
    elif incompatible & _EXT_EXTENTS_AND_LATER or read_only & _EXT_RO_OF_EXT4:
        name = "ext4"
    major, minor = int.from_bytes(data[76:80], "little"), int.from_bytes(data[62:64], "little")
    usage = "other" if name == "jbd" else "filesystem"
    return Signature(name, f"{major}.{minor}", _text(data[120:136]), _uuid(data[104:120]), usage)


def _f2fs(data: bytes) -> Signature | None:
    if data[:4] != b"\x10\x20\xf5\xf2":
        return None
    major, minor = (int.from_bytes(data[offset : offset + 2], "little") for offset in (4, 6))
    label = data[124:636].decode("utf-16-le", "replace").split("\0")[0] or None
    return Signature("f2fs", f"{major}.{minor}", label, _uuid(data[108:124]), "filesystem")


def _erofs(data: bytes) -> Signature | None:
    if data[:4] != b"\xe2\xe1\xf5\xe0":
        return None
    return Signature("erofs", None, _text(data[64:80]), _uuid(data[48:64]), "filesystem")


def _btrfs(data: bytes) -> Signature | None:
    if data[0x40:0x48] != b"_BHRfS_M":
        return None
    return Signature("btrfs", None, _text(data[0x12B:0x22B]), _uuid(data[0x20:0x30]), "filesystem")


def _iso9660(data: bytes) -> Signature | None:
    if data[1:6] != b"CD001":
        return None
    return Signature("iso9660", None, _text(data[40:72]), None, "filesystem")


def _zfs(read: Read) -> Signature | None:
    """Of the first label's uberblocks, at least one is there."""
    blocks = read(128 << 10, 128 << 10)
    magics = (b"\x0c\xb1\xba\0\0\0\0\0", b"\0\0\0\0\0\xba\xb1\x0c")
    if any(blocks[offset : offset + 8] in magics for offset in range(0, len(blocks), 1024)):
        return Signature("zfs_member", None, None, None, "filesystem")
    return None


def _text(data: bytes) -> str | None:
    return data.split(b"\0")[0].decode(errors="replace").strip() or None


def _uuid(data: bytes) -> str | None:
    return str(uuid.UUID(bytes=data)) if len(data) == 16 and any(data) else None


def _serial(data: bytes) -> str | None:
    digits = data[::-1].hex().upper()
    return f"{digits[:4]}-{digits[4:]}" if any(data) else None
