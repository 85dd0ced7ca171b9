"""Copies of a machine's disks as they are at one moment, beside the disks: for whoever backs them up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from common.errors import Conflict, NotFound, Unsupported
from services.vm.drivers.base import Images, VmDriver
from services.vm.models import Machine
from services.vm.reported import Reported
from services.vm.xml import disks
from services.vm.xml.domain import devices_of
from services.vm.xml.tree import attribute, dump, parse

# What only we make, and may overwrite.
SUFFIX = ".nixcc-copy"


@dataclass(frozen=True, slots=True)
class DiskCopy:
    """`target` is the disk's name in the machine, `source` its file, `path` the copy's."""

    target: str
    source: str
    path: str
    format: str


class DiskCopies:
    """Of the machines of one hypervisor; one copying of a machine at a time."""

    def __init__(self, driver: VmDriver) -> None:
        self._driver = driver
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def make(
        self, name: str, report: Callable[[int | None], None], cancel: threading.Event
    ) -> Sequence[DiskCopy]:
        """Of all its disks. A running machine goes on; one that is off can't start until they are made."""
        with self._lock:
            if name in self._busy:
                raise Conflict(f"the disks of {name} are being copied", next_step="wait until that has ended")
            self._busy.add(name)
        try:
            machine, images = self._machine(name), self._images()
            copies = self._copies(machine)
            self._remove(copies, images)
            try:
                with Reported(self._driver, name, report):
                    if machine.active:
                        self._driver.machines.copy_disks(name, _request(machine, copies), cancel)
                    else:
                        for copy in copies:
                            images.copy(copy.source, copy.format, copy.path, cancel)
            except BaseException:
                self._remove(copies, images)
                raise
            return copies
        finally:
            with self._lock:
                self._busy.discard(name)

    def remove(self, name: str) -> None:
        """Deletes them; gone already is fine, and so is a machine that is gone: then nobody knows where they were."""
        with self._lock:
            if name in self._busy:
                raise Conflict(f"the disks of {name} are being copied", next_step="wait until that has ended")
        machine = self._driver.machines.get(name)
        if machine is not None:
            self._remove(self._copies(machine), self._images())

    def _machine(self, name: str) -> Machine:
        machine = self._driver.machines.get(name)
        if machine is None:
            raise NotFound(f"there is no machine {name!r}", next_step="ncc vm lists them")
        return machine

    def _images(self) -> Images:
        images = self._driver.images
        if images is None:
            raise Unsupported(
                "the disks of machines elsewhere can't be copied", next_step="do it where they run"
            )
        return images

    def _copies(self, machine: Machine) -> Sequence[DiskCopy]:
        found = []
        for disk in _disks(machine):
            target, source = disks.target_of(disk), attribute(disk, "source", "file")
            if not source:
                raise Unsupported(
                    f"the disk {target} of {machine.name} is no file, and has nothing to lie beside",
                    next_step="back it up by itself, or move it into a file",
                )
            kind = attribute(disk, "driver", "type") or "raw"
            found.append(DiskCopy(target, source, f"{source}{SUFFIX}", kind))
        return found

    def _remove(self, copies: Sequence[DiskCopy], images: Images) -> None:
        for copy in copies:
            images.remove(copy.path)


def _disks(machine: Machine) -> list[ET.Element]:
    """Those that hold data of the machine's own."""
    return [
        disk
        for disk in devices_of(parse(machine.live or machine.stored)).findall("disk")
        if disk.get("device", "disk") == "disk" and disk.find("readonly") is None
    ]


def _request(machine: Machine, copies: Sequence[DiskCopy]) -> str:
    """<domainbackup> (https://libvirt.org/formatbackup.html): the hypervisor writes the copies itself."""
    root = ET.Element("domainbackup", mode="push")
    listed = ET.SubElement(root, "disks")
    wanted = {copy.target: copy for copy in copies}
    for disk in devices_of(parse(machine.live or machine.stored)).findall("disk"):
        target = disks.target_of(disk)
        copy = wanted.get(target)
        if copy is None:
            ET.SubElement(listed, "disk", name=target, backup="no")
            continue
        one = ET.SubElement(listed, "disk", name=target, backup="yes", type="file")
        ET.SubElement(one, "target", file=copy.path)
        ET.SubElement(one, "driver", type=copy.format)
    return dump(root)
