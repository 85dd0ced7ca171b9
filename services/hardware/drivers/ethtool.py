"""Asks the kernel about a network interface (SIOCETHTOOL, linux/ethtool.h)."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from dataclasses import dataclass

_SIOCETHTOOL = 0x8946
_GDRVINFO, _GPERMADDR, _GLINKSETTINGS = 0x3, 0x20, 0x4C

# Link modes by bit (enum ethtool_link_mode_bit_indices), those of copper, fibre and backplane up to 100 Gbit/s.
_MODES = {
    0: "10baseT/Half",
    1: "10baseT/Full",
    2: "100baseT/Half",
    3: "100baseT/Full",
    4: "1000baseT/Half",
    5: "1000baseT/Full",
    12: "10000baseT/Full",
    15: "2500baseX/Full",
    17: "1000baseKX/Full",
    18: "10000baseKX4/Full",
    19: "10000baseKR/Full",
    23: "40000baseKR4/Full",
    24: "40000baseCR4/Full",
    25: "40000baseSR4/Full",
    26: "40000baseLR4/Full",
    31: "25000baseCR/Full",
    32: "25000baseKR/Full",
    33: "25000baseSR/Full",
    36: "100000baseKR4/Full",
    37: "100000baseSR4/Full",
    38: "100000baseCR4/Full",
    39: "100000baseLR4_ER4/Full",
    41: "1000baseX/Full",
    42: "10000baseCR/Full",
    43: "10000baseSR/Full",
    44: "10000baseLR/Full",
    47: "2500baseT/Full",
    48: "5000baseT/Full",
}
_PORTS = {
    0: "twisted pair",
    1: "AUI",
    2: "MII",
    3: "fibre",
    4: "BNC",
    5: "direct attach",
    0xEF: None,
    0xFF: None,
}
_UNKNOWN_SPEED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How the link is; speed in megabits a second. None: the driver doesn't say."""

    speed: int | None
    duplex: str | None
    autonegotiation: bool
    port: str | None
    modes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """What drives it; empty where it doesn't say."""

    driver: str
    version: str
    firmware: str
    bus: str


class Ethtool:
    """Asks about one interface after the other; a context manager, since it needs a socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> Ethtool:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def driver(self, name: str) -> DriverInfo | None:
        """None: the interface doesn't answer such questions."""
        answer = self._ask(name, struct.pack("=I", _GDRVINFO).ljust(196, b"\0"))
        if answer is None:
            return None
        texts = [answer[start:end].split(b"\0")[0].decode(errors="replace") for start, end in _INFO]
        return DriverInfo(*("" if text == "N/A" else text for text in texts))

    def permanent_address(self, name: str) -> str | None:
        """The hardware address it was made with; None: it has none."""
        answer = self._ask(name, struct.pack("=II", _GPERMADDR, 32).ljust(40, b"\0"))
        if answer is None:
            return None
        size = struct.unpack_from("=I", answer, 4)[0]
        address = answer[8 : 8 + min(size, 32)]
        return address.hex(":") if any(address) else None

    def link(self, name: str) -> LinkSettings | None:
        """None: the interface has no link of that sort."""
        # The first call tells how many words the masks have, as a negative number; the second one answers.
        probe = self._ask(name, _link_request(0))
        words = -struct.unpack_from("=b", probe, 15)[0] if probe else 0
        if words <= 0:
            return None
        answer = self._ask(name, _link_request(words))
        if answer is None:
            return None
        speed, duplex, port, _phy, autonegotiation = struct.unpack_from("=IBBBB", answer, 4)
        mask = int.from_bytes(answer[48 : 48 + 4 * words], "little")
        return LinkSettings(
            speed=None if speed in (0, _UNKNOWN_SPEED) else speed,
            duplex={0: "half", 1: "full"}.get(duplex),
            autonegotiation=bool(autonegotiation),
            port=_PORTS.get(port),
            modes=tuple(mode for bit, mode in _MODES.items() if mask >> bit & 1),
        )

    def _ask(self, name: str, request: bytes) -> bytes | None:
        buffer = ctypes.create_string_buffer(request, len(request))
        question = struct.pack("16sP", name.encode()[:15], ctypes.addressof(buffer)).ljust(40, b"\0")
        try:
            fcntl.ioctl(self._socket.fileno(), _SIOCETHTOOL, question)
        except OSError:
            return None
        return buffer.raw


# struct ethtool_drvinfo: driver, version, firmware version, bus.
_INFO = ((4, 36), (36, 68), (68, 100), (100, 132))


def _link_request(words: int) -> bytes:
    """struct ethtool_link_settings with room for the three masks; `words` at offset 15 is signed."""
    head = struct.pack("=I", _GLINKSETTINGS).ljust(15, b"\0") + struct.pack("=b", words)
    return head.ljust(48, b"\0") + b"\0" * (3 * 4 * max(words, 0))
