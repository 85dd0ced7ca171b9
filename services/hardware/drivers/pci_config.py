"""Reads a PCI function's configuration space (PCI Local Bus 3.0, section 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# Gives up to so many bytes from an offset; fewer where they may not be read.
Read = Callable[[int, int], bytes]

# Capability identifiers, named as other tools do.
_CAPABILITIES = {
    0x01: "pm",
    0x02: "agp",
    0x03: "vpd",
    0x04: "slotid",
    0x05: "msi",
    0x06: "hotswap",
    0x07: "pcix",
    0x08: "ht",
    0x0A: "debug",
    0x0C: "hotplug",
    0x0D: "bridge_ssid",
    0x0E: "agp8x",
    0x0F: "secure",
    0x10: "pciexpress",
    0x11: "msix",
    0x12: "sata",
    0x13: "af",
}


@dataclass(frozen=True, slots=True)
class Config:
    """What the space tells. `capabilities` is empty where only its first 64 bytes may be read."""

    bus_master: bool
    latency: int
    clock: int
    width: int
    capabilities: tuple[str, ...]


def parse(read: Read) -> Config | None:
    """None: too short to tell anything. Reads no more than it needs: each read asks the device (or hypervisor)."""
    space = read(0, 64)
    if len(space) < 64:
        return None
    command, status = _word(space, 4), _word(space, 6)
    header = space[0x0E] & 0x7F
    pointer = space[0x14 if header == 2 else 0x34] if status & 0x10 else 0
    return Config(
        bus_master=bool(command & 0x4),
        latency=space[0x0D],
        clock=66_000_000 if status & 0x20 else 33_000_000,
        width=64 if _wide(space, header) else 32,
        capabilities=_capabilities(read, pointer),
    )


def _wide(space: bytes, header: int) -> bool:
    """Whether a memory range takes 64-bit addresses; endpoints have six ranges, bridges two."""
    for index in range({0: 6, 1: 2}.get(header, 0)):
        low = space[0x10 + 4 * index]
        if not low & 1 and low & 0x6 == 0x4:
            return True
    return False


def _capabilities(read: Read, pointer: int) -> tuple[str, ...]:
    names: list[str] = []
    seen: set[int] = set()
    while (pointer := pointer & 0xFC) >= 0x40 and pointer not in seen:
        seen.add(pointer)
        entry = read(pointer, 2)
        if len(entry) < 2:
            break
        name = _CAPABILITIES.get(entry[0])
        if name and name not in names:
            names.append(name)
        pointer = entry[1]
    return tuple(names)


def _word(space: bytes, offset: int) -> int:
    return int.from_bytes(space[offset : offset + 2], "little")
