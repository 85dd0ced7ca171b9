from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.hardware.drivers.pci_config import Read, parse


def _space(
    *, status: int = 0x10, command: int = 4, bar: int = 0xC, chain: dict[int, tuple[int, int]] | None = None
) -> bytes:
    space = bytearray(256)
    space[4:8] = command.to_bytes(2, "little") + status.to_bytes(2, "little")
    space[0x0D] = 32
    space[0x10] = bar
    space[0x34] = 0x40
    for offset, (kind, following) in (chain or {}).items():
        space[offset : offset + 2] = bytes([kind, following])
    return bytes(space)


def _read(space: bytes) -> Read:
    return lambda offset, size: space[offset : offset + size]


def test_a_device_with_capabilities() -> None:
    found = parse(_read(_space(chain={0x40: (1, 0x50), 0x50: (0x11, 0x70), 0x70: (0x10, 0)})))
    assert found is not None
    assert found.capabilities == ("pm", "msix", "pciexpress")
    assert (found.bus_master, found.latency, found.clock, found.width) == (True, 32, 33_000_000, 64)


def test_an_old_device() -> None:
    found = parse(_read(_space(status=0x20, command=0, bar=1)))
    assert found is not None
    assert (found.bus_master, found.clock, found.width, found.capabilities) == (False, 66_000_000, 32, ())


def test_only_root_may_read_past_the_first_64_bytes() -> None:
    found = parse(_read(_space(chain={0x40: (1, 0)})[:64]))
    assert found is not None
    assert found.capabilities == ()
    assert parse(_read(b"")) is None


def test_a_chain_that_leads_back_to_itself_ends() -> None:
    found = parse(_read(_space(chain={0x40: (1, 0x50), 0x50: (5, 0x40)})))
    assert found is not None
    assert found.capabilities == ("pm", "msi")


@given(st.binary(max_size=256))
def test_any_bytes_end(space: bytes) -> None:
    parse(_read(space))
