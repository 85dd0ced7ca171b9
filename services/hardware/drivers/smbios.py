"""Reads the SMBIOS table as the firmware left it (DMTF DSP0134, version 3.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.hardware.models.inventory import MemoryModule

PHYSICAL_MEMORY_ARRAY = 16
MEMORY_DEVICE = 17

# 7.18.2
_TYPES = {
    0x0F: "SDRAM",
    0x12: "DDR",
    0x13: "DDR2",
    0x14: "DDR2 FB-DIMM",
    0x18: "DDR3",
    0x1A: "DDR4",
    0x1B: "LPDDR",
    0x1C: "LPDDR2",
    0x1D: "LPDDR3",
    0x1E: "LPDDR4",
    0x20: "HBM",
    0x21: "HBM2",
    0x22: "DDR5",
    0x23: "LPDDR5",
    0x24: "HBM3",
}
# 7.18.1
_FORM_FACTORS = {0x03: "SIMM", 0x05: "Chip", 0x09: "DIMM", 0x0B: "Row Of Chips", 0x0D: "SODIMM", 0x10: "Die"}
# 7.17.3
_CORRECTIONS = {3: "None", 4: "Parity", 5: "Single-bit ECC", 6: "Multi-bit ECC", 7: "CRC"}
# 7.4.1
CHASSIS = {
    3: "Desktop",
    4: "Low Profile Desktop",
    6: "Mini Tower",
    7: "Tower",
    8: "Portable",
    9: "Laptop",
    10: "Notebook",
    11: "Hand Held",
    13: "All in One",
    14: "Sub Notebook",
    17: "Main Server Chassis",
    23: "Rack Mount Chassis",
    28: "Blade",
    30: "Tablet",
    31: "Convertible",
    32: "Detachable",
    34: "Embedded PC",
    35: "Mini PC",
    36: "Stick PC",
}


@dataclass(frozen=True, slots=True)
class Structure:
    """One structure: its type, its formatted bytes from offset 0, its strings."""

    type: int
    data: bytes
    strings: tuple[str, ...]

    def number(self, offset: int, size: int) -> int | None:
        """A little-endian number; None where the structure (of an older version) ends before."""
        if offset + size > len(self.data):
            return None
        return int.from_bytes(self.data[offset : offset + size], "little")

    def string(self, offset: int) -> str | None:
        """The string whose index is at `offset`; None where there is none or it says nothing."""
        index = self.number(offset, 1)
        if not index or index > len(self.strings):
            return None
        text = self.strings[index - 1].strip()
        return None if text.lower() in _EMPTY else text


_EMPTY = {
    "",
    "not specified",
    "unknown",
    "none",
    "to be filled by o.e.m.",
    "default string",
    "no dimm",
    "[empty]",
}


@dataclass(frozen=True, slots=True)
class MemoryArray:
    """What the board takes."""

    slots: int | None
    maximum_capacity: int | None
    error_correction: str | None


def structures(table: bytes) -> Iterator[Structure]:
    """All structures of a table; ends quietly where the table is cut off or malformed."""
    position = 0
    while position + 4 <= len(table):
        kind, length = table[position], table[position + 1]
        if length < 4 or position + length > len(table):
            return
        end = table.find(b"\0\0", position + length)
        if end < 0:
            return
        texts = table[position + length : end]
        strings = tuple(text.decode("latin-1") for text in texts.split(b"\0")) if texts else ()
        yield Structure(kind, table[position : position + length], strings)
        if kind == 127:
            return
        position = end + 2


def memory(table: bytes) -> tuple[MemoryArray, tuple[MemoryModule, ...]]:
    """The system memory's arrays taken together, and its modules with empty sockets."""
    slots = capacity = 0
    correction: str | None = None
    modules = []
    for structure in structures(table):
        # Use 3 is system memory; others are flash, cache and video memory.
        if structure.type == PHYSICAL_MEMORY_ARRAY and structure.number(5, 1) == 3:
            slots += structure.number(0x0D, 2) or 0
            capacity += _capacity(structure)
            correction = _CORRECTIONS.get(structure.number(6, 1) or 0, correction)
        elif structure.type == MEMORY_DEVICE:
            modules.append(_module(structure))
    return MemoryArray(slots or None, capacity or None, correction), tuple(modules)


def _capacity(structure: Structure) -> int:
    kilobytes = structure.number(7, 4) or 0
    if kilobytes == 0x80000000:
        return structure.number(0x0F, 8) or 0
    return kilobytes << 10


def _module(structure: Structure) -> MemoryModule:
    size = _size(structure)
    slot = MemoryModule(locator=structure.string(0x10), bank=structure.string(0x11))
    if size is None:
        return slot
    return MemoryModule(
        locator=slot.locator,
        bank=slot.bank,
        size=size,
        type=_TYPES.get(structure.number(0x12, 1) or 0),
        form_factor=_FORM_FACTORS.get(structure.number(0x0E, 1) or 0),
        speed=_speed(structure, 0x15, 0x54),
        configured_speed=_speed(structure, 0x20, 0x58),
        manufacturer=structure.string(0x17),
        serial=structure.string(0x18),
        part_number=structure.string(0x1A),
        total_width=_known(structure.number(0x08, 2)),
        data_width=_known(structure.number(0x0A, 2)),
        rank=(structure.number(0x1B, 1) or 0) & 0x0F or None,
        millivolts=structure.number(0x26, 2) or None,
    )


def _size(structure: Structure) -> int | None:
    """Bytes; None: nothing installed, or unknown."""
    short = structure.number(0x0C, 2) or 0
    if short == 0x7FFF:
        return ((structure.number(0x1C, 4) or 0) & 0x7FFFFFFF) << 20 or None
    if short in (0, 0xFFFF):
        return None
    return (short & 0x7FFF) << (10 if short & 0x8000 else 20)


def _speed(structure: Structure, offset: int, extended: int) -> int | None:
    speed = _known(structure.number(offset, 2))
    return structure.number(extended, 4) or None if speed is None and structure.number(offset, 2) else speed


def _known(number: int | None) -> int | None:
    return None if number in (None, 0, 0xFFFF) else number
