"""Names of vendors and devices from the hardware database: udev's, else the lists of pciutils and usbutils."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

_FOLDERS = ("/usr/share/misc", "/usr/share/hwdata", "/run/current-system/sw/share/hwdata", "/usr/share")
_VENDOR, _MODEL = "ID_VENDOR_FROM_DATABASE", "ID_MODEL_FROM_DATABASE"
_CLASS, _SUBCLASS = "ID_PCI_CLASS_FROM_DATABASE", "ID_PCI_SUBCLASS_FROM_DATABASE"

# The line break before a line that is indented by no more than so many tabs.
_OUTDENTED = tuple(re.compile(rb"\n\t{0,%d}[^\t#\n]" % depth) for depth in range(3))


class Names:
    """Looks names up; None: the database does not have it. May be used by several threads."""

    def __init__(self, folders: Sequence[str] = _FOLDERS, *, use_udev: bool = True) -> None:
        self._lock = threading.Lock()
        self._udev = _Udev() if use_udev else None
        self._lists = (
            {name: _read(folders, name) for name in ("pci.ids", "usb.ids")} if not self._ready else {}
        )
        self._cache: dict[str, dict[str, str]] = {}

    @property
    def _ready(self) -> bool:
        return self._udev is not None and self._udev.ready

    @property
    def source(self) -> str:
        """Where names come from: `hwdb`, `ids`; empty: there is no database here."""
        return "hwdb" if self._ready else "ids" if any(self._lists.values()) else ""

    def pci_vendor(self, vendor: str) -> str | None:
        """By four hexadecimal digits."""
        return self._hwdb(f"pci:v0000{vendor.upper()}*").get(_VENDOR) or self._line("pci.ids", vendor)

    def pci_device(self, vendor: str, device: str) -> str | None:
        """By four hexadecimal digits each."""
        found = self._hwdb(f"pci:v0000{vendor.upper()}d0000{device.upper()}*").get(_MODEL)
        return found or self._line("pci.ids", vendor, device)

    def pci_card(self, vendor: str, device: str, card_vendor: str, card: str) -> str | None:
        """The name of a card by its subsystem; None also where it has none of its own."""
        chip = f"v0000{vendor.upper()}d0000{device.upper()}"
        found = self._hwdb(f"pci:{chip}sv0000{card_vendor.upper()}sd0000{card.upper()}*").get(_MODEL)
        if found is None or found == self.pci_device(vendor, device):
            return self._line("pci.ids", vendor, device, f"{card_vendor} {card}")
        return found

    def pci_class(self, code: str) -> str | None:
        """By six hexadecimal digits: the name of the subclass, else of the class."""
        found = self._hwdb(f"pci:v*d*sv*sd*bc{code[:2].upper()}sc{code[2:4].upper()}*")
        if name := found.get(_SUBCLASS) or found.get(_CLASS):
            return name
        return self._line("pci.ids", f"C {code[:2]}", code[2:4]) or self._line("pci.ids", f"C {code[:2]}")

    def usb_vendor(self, vendor: str) -> str | None:
        """By four hexadecimal digits."""
        return self._hwdb(f"usb:v{vendor.upper()}*").get(_VENDOR) or self._line("usb.ids", vendor)

    def usb_product(self, vendor: str, product: str) -> str | None:
        """By four hexadecimal digits each."""
        found = self._hwdb(f"usb:v{vendor.upper()}p{product.upper()}*").get(_MODEL)
        return found or self._line("usb.ids", vendor, product)

    def _hwdb(self, modalias: str) -> dict[str, str]:
        if self._udev is None or not self._udev.ready:
            return {}
        with self._lock:
            found = self._cache.get(modalias)
            if found is None:
                found = self._cache[modalias] = self._udev.properties(modalias)
            return found

    def _line(self, name: str, *path: str) -> str | None:
        """A name of an .ids file, whose entries are indented by one tab a level."""
        text = self._lists.get(name) or b""
        start, end = 0, len(text)
        label = None
        for depth, key in enumerate(path):
            prefix = b"\n" + b"\t" * depth + key.encode() + b"  "
            found = text.find(prefix, start, end)
            if found < 0:
                return None
            start = text.find(b"\n", found + 1)
            label = text[found + len(prefix) : start].decode(errors="replace").strip()
            # The entry's own lines end where one begins that is indented less.
            after = _OUTDENTED[depth].search(text, start, end)
            end = after.start() if after else end
        return label


class _Udev:
    """udev's own database, through the libudev that pyudev has loaded; it is not for several threads at once."""

    def __init__(self) -> None:
        self.ready = False
        try:
            import pyudev

            self._context: Any = pyudev.Context()
        except (ImportError, OSError) as error:
            log.debug("udev's hardware database can't be used", cause=str(error))
            return
        self._lib: Any = self._context._libudev  # noqa: SLF001  pyudev has no public way to the database
        self._database = self._lib.udev_hwdb_new(self._context)
        self.ready = bool(self._database)

    def properties(self, modalias: str) -> dict[str, str]:
        lib = self._lib
        found = {}
        entry = lib.udev_hwdb_get_properties_list_entry(self._database, modalias.encode(), 0)
        while entry:
            name = lib.udev_list_entry_get_name(entry).decode(errors="replace")
            found[name] = lib.udev_list_entry_get_value(entry).decode(errors="replace")
            entry = lib.udev_list_entry_get_next(entry)
        return found


def _read(folders: Sequence[str], name: str) -> bytes:
    for folder in folders:
        try:
            # Every line, the first one too, follows a line break.
            return b"\n" + (Path(folder) / name).read_bytes()
        except OSError:
            continue
    return b""
