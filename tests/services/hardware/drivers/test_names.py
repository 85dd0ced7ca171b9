from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from services.hardware.drivers.names import Names


def test_names_out_of_the_lists(names: Names) -> None:
    assert names.source == "ids"
    assert names.pci_vendor("10de") == "NVIDIA Corporation"
    assert names.pci_device("1002", "73df") == "Navi 22 [Radeon RX 6700/6700 XT]"
    assert names.pci_card("1002", "73df", "1da2", "e445") == "Sapphire Radeon RX 6700"
    assert names.pci_card("1002", "73df", "1da2", "0000") is None
    assert names.pci_class("010802") == "Non-Volatile memory controller"
    assert names.pci_class("01ff00") == "Mass storage controller"
    # Known to another vendor only.
    assert names.pci_device("1002", "25a2") is None
    assert names.pci_vendor("ffff") is None
    assert names.usb_vendor("046d") == "Logitech, Inc."
    assert names.usb_product("046d", "c31c") == "Keyboard K120"


def test_no_database_at_all(tmp_path: Path) -> None:
    names = Names([str(tmp_path)], use_udev=False)
    assert names.source == ""
    assert names.pci_vendor("10de") is None
    assert names.usb_product("046d", "c31c") is None


@pytest.mark.host
def test_udev_and_the_lists_agree(require: Callable[..., None]) -> None:
    udev, lists = Names(), Names(use_udev=False)
    require(when=udev.source == "hwdb", reason="udev's hardware database is not installed")
    require(when=lists.source == "ids", reason="pci.ids is not installed")
    for vendor, device in (("10de", "1b80"), ("8086", "1237"), ("1af4", "1041"), ("144d", "a808")):
        assert udev.pci_vendor(vendor) == lists.pci_vendor(vendor)
        assert udev.pci_device(vendor, device) == lists.pci_device(vendor, device)
    for code in ("030000", "010802", "0c0330"):
        assert udev.pci_class(code) == lists.pci_class(code)
