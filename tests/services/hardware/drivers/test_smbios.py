from __future__ import annotations

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from services.hardware.drivers import linux_memory, smbios
from services.hardware.drivers.tree import Notes, Tree


def pack(kind: int, formatted: bytes, *strings: str) -> bytes:
    """One structure as it lies in a table; `formatted` starts after the header."""
    texts = b"".join(text.encode("latin-1") + b"\0" for text in strings) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(formatted), 0) + formatted + texts + b"\0"


def array(slots: int, kilobytes: int, correction: int = 6, extended: int = 0) -> bytes:
    return pack(16, struct.pack("<BBBIHHQ", 3, 3, correction, kilobytes, 0, slots, extended))


def module(size: int, *, extended: int = 0, speed: int = 3200) -> bytes:
    """A DDR4 DIMM of `size` as the table counts it."""
    body = struct.pack("<HHHHHBBBBBHH", 0, 0, 72, 64, size, 9, 0, 1, 2, 0x1A, 0, speed)
    body += struct.pack("<BBBBBIHHHH", 3, 4, 0, 5, 2, extended, 2933, 1200, 1200, 1200)
    return pack(17, body, "DIMM_A1", "BANK 0", "Kingston", "1A2B", "KHX3200C16")


TABLE = array(4, 0x4000000) + module(16384) + module(0) + module(0x7FFF, extended=65536) + pack(127, b"")


def test_modules_and_what_the_board_takes() -> None:
    found, modules = smbios.memory(TABLE)
    assert (found.slots, found.maximum_capacity, found.error_correction) == (4, 64 << 30, "Multi-bit ECC")
    first, empty, large = modules
    assert (first.size, first.type, first.form_factor) == (16 << 30, "DDR4", "DIMM")
    assert (first.locator, first.bank, first.manufacturer) == ("DIMM_A1", "BANK 0", "Kingston")
    assert (first.serial, first.part_number) == ("1A2B", "KHX3200C16")
    assert (first.speed, first.configured_speed, first.rank) == (3200, 2933, 2)
    assert (first.total_width, first.data_width, first.millivolts) == (72, 64, 1200)
    assert (empty.locator, empty.size, empty.type) == ("DIMM_A1", None, None)
    assert large.size == 64 << 30


def test_sizes_in_kilobytes_and_capacities_past_two_terabytes() -> None:
    found, modules = smbios.memory(array(2, 0x80000000, extended=4 << 40) + module(0x8000 | 512))
    assert found.maximum_capacity == 4 << 40
    assert modules[0].size == 512 << 10


def test_the_machine_reads_them_from_its_table(tmp_path: Path) -> None:
    path = tmp_path / "sys/firmware/dmi/tables/DMI"
    path.parent.mkdir(parents=True)
    path.write_bytes(TABLE)
    notes = Notes()
    memory = linux_memory.memory(Tree(tmp_path), notes)
    assert (memory.slots, len(memory.modules)) == (4, 3)
    assert "memory.modules" not in {absence.fact for absence in notes.absences}


def test_a_cut_table_gives_what_is_whole() -> None:
    for end in range(len(TABLE)):
        _, modules = smbios.memory(TABLE[:end])
        assert len(modules) <= 3


@given(st.binary(max_size=400))
def test_any_bytes_end(table: bytes) -> None:
    smbios.memory(table)
