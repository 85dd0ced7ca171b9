"""What devices hold: images made by the real programs, told as libblkid tells them; and bytes that are nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hardware.drivers import partitions, signatures
from services.hardware.models.storage import Signature

UUID = "6f1e1c44-8b1d-4f43-9d0c-6f0b1a2c3d4e"


def _reader(data: bytes) -> signatures.Read:
    return lambda offset, size: data[offset : offset + size]


def _blkid(image: Path) -> dict[str, str]:
    done = subprocess.run(
        ["blkid", "-p", "-o", "export", str(image)], check=True, capture_output=True, text=True
    )
    # It escapes blanks with a backslash.
    return dict(line.replace("\\", "").split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.mark.host
@pytest.mark.parametrize(
    ("command", "size"),
    [
        (["mkfs.ext4", "-q", "-L", "data", "-U", UUID], 32),
        (["mkfs.ext3", "-q", "-L", "data"], 32),
        (["mkfs.ext2", "-q"], 8),
        (["mkfs.xfs", "-q", "-L", "data"], 320),
        (["mkfs.btrfs", "-q", "-L", "my data"], 128),
        (["mkfs.vfat", "-F", "32", "-n", "ESP"], 64),
        (["mkfs.vfat", "-F", "16"], 16),
        (["mkswap", "-L", "swap", "-U", UUID], 8),
        (
            [
                "cryptsetup",
                "-q",
                "luksFormat",
                "--type",
                "luks2",
                "--label",
                "secret",
                "--pbkdf-force-iterations",
                "4",
            ],
            32,
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_tells_what_libblkid_tells(
    command: list[str], size: int, tmp_path: Path, require: Callable[..., None]
) -> None:
    for program in (command[0], "blkid"):
        require(binary=program)
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(size << 20)
    if command[0] == "cryptsetup":
        command = [*command, "--pbkdf", "argon2id", "--pbkdf-memory", "32", "--key-file", "-"]
    done = subprocess.run([*command, str(image)], input=b"password", capture_output=True, check=False)
    if command[0] == "cryptsetup":
        require(
            when=done.returncode == 0, reason=f"cryptsetup can't format here: {done.stderr.decode().strip()}"
        )
    assert done.returncode == 0, done.stderr
    expected = _blkid(image)
    descriptor = os.open(image, os.O_RDONLY)
    try:
        found = signatures.probe(lambda offset, length: os.pread(descriptor, length, offset))
    finally:
        os.close(descriptor)
    assert found is not None
    assert found.type == expected["TYPE"]
    assert found.uuid == expected["UUID"]
    assert found.label == expected.get("LABEL")
    assert found.usage == expected["USAGE"]
    assert found.version == expected.get("VERSION", found.version)


def test_a_luks_header_of_the_first_version() -> None:
    data = b"LUKS\xba\xbe\x00\x01".ljust(168, b"\0") + UUID.encode().ljust(40, b"\0")
    assert signatures.probe(_reader(data.ljust(8192, b"\0"))) == Signature(
        "crypto_LUKS", "1", None, UUID, "crypto"
    )


def test_an_lvm_label() -> None:
    sector = (
        b"LABELONE"
        + bytes(12)
        + (32).to_bytes(4, "little")
        + b"LVM2 001"
        + b"abcdefGHIJklmnOPQRstuvWXYZ012345"
    )
    found = signatures.probe(_reader((bytes(512) + sector).ljust(8192, b"\0")))
    assert found == Signature(
        "LVM2_member", "LVM2 001", None, "abcdef-GHIJ-klmn-OPQR-stuv-WXYZ-012345", "raid"
    )


def test_a_raid_member_and_an_iso_image() -> None:
    block = b"\xfc\x4e\x2b\xa9".ljust(16, b"\0") + bytes(range(1, 17)) + b"host:0".ljust(32, b"\0")
    found = signatures.probe(_reader(bytes(4096) + block.ljust(4096, b"\0")))
    assert found is not None
    assert (found.type, found.version, found.label) == ("linux_raid_member", "1.2", "host:0")
    image = bytes(0x8000) + (b"\x01CD001\x01".ljust(40, b"\0") + b"DEBIAN 12".ljust(32)).ljust(2048, b"\0")
    found = signatures.probe(_reader(image))
    assert found is not None
    assert (found.type, found.label) == ("iso9660", "DEBIAN 12")


@given(st.binary(max_size=9000))
def test_any_bytes_are_something_or_nothing(data: bytes) -> None:
    found = signatures.probe(_reader(data))
    assert found is None or found.type
    partitions.read_table(_reader(data), 512)


@given(st.binary(min_size=76, max_size=76), st.sampled_from([b"\x55\xaa", b"\xaa\x55"]))
def test_any_partition_table_ends(entries: bytes, magic: bytes) -> None:
    sector = bytes(434) + entries + magic
    # Extended partitions that lead back to themselves.
    table = partitions.read_table(lambda offset, size: sector[:size], 512)
    assert table is None or table[0].type in ("gpt", "dos")


SCRIPTS = {
    "gpt": 'label: gpt\nsize=4MiB, type=U, name="EFI boot"\nsize=4MiB, type=L, attrs="GUID:63"\n'
    "start=20MiB, size=2MiB, type=S\n",
    "dos": "label: dos\nsize=4MiB, type=83, bootable\nsize=12MiB, type=5\nsize=2MiB, type=82\nsize=2MiB, type=83\n",
}


@pytest.mark.host
@pytest.mark.parametrize("kind", SCRIPTS)
def test_tells_the_partitions_that_sfdisk_made(
    kind: str, tmp_path: Path, loop: Callable[..., object], require: Callable[..., None]
) -> None:
    require(binary="sfdisk")
    require(binary="blkid")
    require(root=True)
    disk = loop("sfdisk", "-q", script=SCRIPTS[kind], partitions=True)
    device = disk.device  # type: ignore[attr-defined]
    image = Path(disk.image)  # type: ignore[attr-defined]
    table = partitions.read_table(_reader(image.read_bytes()), 512)
    assert table is not None
    whole = _blkid(image)
    assert (table[0].type, table[0].uuid) == (whole["PTTYPE"], whole["PTUUID"])
    assert len(table[1]) == SCRIPTS[kind].count("size=")
    for number, entry in table[1].items():
        expected = _blkid(Path(f"{device}p{number}"))
        assert str(entry.number) == expected["PART_ENTRY_NUMBER"]
        assert entry.type == expected["PART_ENTRY_TYPE"]
        assert entry.uuid == expected.get("PART_ENTRY_UUID")
        assert entry.flags == expected.get("PART_ENTRY_FLAGS")
        assert str(entry.start) == expected["PART_ENTRY_OFFSET"]
        assert entry.label == expected.get("PART_ENTRY_NAME")
        assert entry.type_name
