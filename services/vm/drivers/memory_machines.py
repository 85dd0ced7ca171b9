"""Machines in memory: a stored definition, a copy of it while they run, and what is attached to that copy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4
from xml.etree.ElementTree import Element

from common.errors import AlreadyExists, NotFound, WrongState
from services.vm.drivers.base import Console
from services.vm.drivers.memory_files import MemoryImages
from services.vm.models import Address, DiskStats, Machine, Snapshot, State, Stats, Subject
from services.vm.xml import disks, interfaces
from services.vm.xml.domain import devices_of, memory_of
from services.vm.xml.notes import read_notes, write_notes
from services.vm.xml.tree import NAMESPACE, attribute, dump, ensure, parse, set_size, text_of

Tell = Callable[[Subject, str], None]


@dataclass
class _Machine:
    stored: Element
    live: Element | None = None
    state: State = State.OFF
    reason: str = ""
    autostart: bool = False
    snapshots: list[tuple[Snapshot, str, str | None]] = field(default_factory=list)


class MemoryMachines:
    """See Machines."""

    def __init__(self, tell: Tell, images: MemoryImages) -> None:
        self._tell = tell
        self._images = images
        self._machines: dict[str, _Machine] = {}
        self._lock = threading.RLock()

    def names(self) -> Sequence[str]:
        """See Machines."""
        return sorted(self._machines)

    def get(self, name: str) -> Machine | None:
        """See Machines."""
        with self._lock:
            machine = self._machines.get(name)
            if machine is None:
                return None
            return Machine(
                name=name,
                uuid=text_of(machine.stored, "uuid"),
                state=machine.state,
                reason=machine.reason,
                autostart=machine.autostart,
                persistent=True,
                stored=dump(machine.stored),
                live=dump(machine.live) if machine.live is not None else None,
            )

    def get_many(self, names: Sequence[str]) -> Mapping[str, Machine | None]:
        """See Machines."""
        return {name: self.get(name) for name in names}

    def define(self, xml: str) -> None:
        """See Machines."""
        root = parse(xml)
        name = text_of(root, "name")
        with self._lock:
            if root.find("uuid") is None:
                ensure(root, "uuid").text = str(uuid4())
            machine = self._machines.setdefault(name, _Machine(root))
            machine.stored = root
        self._tell(Subject.MACHINE, name)

    def undefine(self, name: str) -> None:
        """See Machines."""
        with self._lock:
            if self._find(name).live is not None:
                raise WrongState(f"machine {name} runs")
            del self._machines[name]
        self._tell(Subject.MACHINE, name)

    def start(self, name: str) -> None:
        """See Machines."""
        with self._lock:
            machine = self._find(name)
            if machine.live is not None:
                raise WrongState(f"machine {name} runs already")
            for element in devices_of(machine.stored).findall("disk"):
                path = disks.source_path(element)
                if path and element.get("device") == "disk" and self._images.get(path) is None:
                    raise NotFound(f"machine {name}: there is no disk image {path}")
            machine.live = parse(dump(machine.stored))
            machine.state, machine.reason = State.RUNNING, "booted"
        self._tell(Subject.MACHINE, name)

    def resume(self, name: str) -> None:
        """See Machines."""
        self._active(name).state = State.RUNNING
        self._tell(Subject.MACHINE, name)

    def pause(self, name: str) -> None:
        """Holds it, as somebody else might."""
        self._active(name).state = State.PAUSED
        self._tell(Subject.MACHINE, name)

    def shutdown(self, name: str) -> None:
        """See Machines: these obey at once."""
        self._off(name, "shut down")

    def destroy(self, name: str) -> None:
        """See Machines."""
        self._off(name, "destroyed")

    def reboot(self, name: str) -> None:
        """See Machines."""
        self._active(name)
        self._tell(Subject.MACHINE, name)

    def reset(self, name: str) -> None:
        """See Machines."""
        self.reboot(name)

    def set_autostart(self, name: str, value: bool) -> None:
        """See Machines."""
        self._find(name).autostart = value

    def set_memory(self, name: str, size: int) -> None:
        """See Machines."""
        live = self._live(name)
        if size > memory_of(live)[1]:
            raise WrongState(f"machine {name} can't have more than {memory_of(live)[1]} bytes of memory")
        set_size(live, "currentMemory", size)
        self._tell(Subject.MACHINE, name)

    def set_cpus(self, name: str, count: int) -> None:
        """See Machines."""
        element = ensure(self._live(name), "vcpu")
        element.set("current", str(count))
        self._tell(Subject.MACHINE, name)

    def set_notes(self, name: str, xml: str) -> None:
        """See Machines."""
        live = self._live(name)
        holder = Element("domain")
        metadata = ensure(holder, "metadata")
        metadata.append(parse(xml))
        for element in metadata.iter():
            if element is not metadata:
                element.tag = f"{{{NAMESPACE}}}{element.tag}"
        write_notes(live, read_notes(holder))
        self._tell(Subject.MACHINE, name)

    def resize_disk(self, name: str, target: str, size: int) -> None:
        """See Machines."""
        for element in devices_of(self._live(name)).findall("disk"):
            if disks.target_of(element) == target:
                self._images.grow(disks.source_path(element), "", size)

    def attach(self, name: str, xml: str) -> None:
        """See Machines."""
        ensure(self._live(name), "devices").append(parse(xml))
        self._tell(Subject.MACHINE, name)

    def detach(self, name: str, xml: str) -> None:
        """See Machines."""
        devices = ensure(self._live(name), "devices")
        devices.remove(_same(devices, parse(xml)))
        self._tell(Subject.MACHINE, name)

    def update(self, name: str, xml: str) -> None:
        """See Machines."""
        devices, new = ensure(self._live(name), "devices"), parse(xml)
        devices.remove(_same(devices, new))
        devices.append(new)
        self._tell(Subject.MACHINE, name)

    def snapshots(self, name: str) -> Sequence[Snapshot]:
        """See Machines."""
        return [snapshot for snapshot, _, _ in self._find(name).snapshots]

    def create_snapshot(self, name: str, xml: str, disks_only: bool) -> None:
        """See Machines."""
        root = parse(xml)
        with self._lock:
            machine = self._find(name)
            title = text_of(root, "name")
            if any(snapshot.name == title for snapshot, _, _ in machine.snapshots):
                raise AlreadyExists(f"machine {name} has a snapshot {title} already")
            parent = next((s.name for s, _, _ in machine.snapshots if s.current), "")
            live = None if machine.live is None or disks_only else dump(machine.live)
            new = Snapshot(title, text_of(root, "description"), int(time.time()), machine.state, parent, True)
            machine.snapshots = [(_current(s, ""), a, b) for s, a, b in machine.snapshots]
            machine.snapshots.append((new, dump(machine.stored), live))

    def revert_snapshot(self, name: str, snapshot: str) -> None:
        """See Machines."""
        with self._lock:
            machine = self._find(name)
            found = next((row for row in machine.snapshots if row[0].name == snapshot), None)
            if found is None:
                raise NotFound(f"machine {name} has no snapshot {snapshot}")
            machine.stored = parse(found[1])
            machine.live = parse(found[2]) if found[2] is not None else None
            machine.state = State.RUNNING if machine.live is not None else State.OFF
            machine.reason = "from snapshot"
            machine.snapshots = [(_current(s, snapshot), a, b) for s, a, b in machine.snapshots]
        self._tell(Subject.MACHINE, name)

    def delete_snapshot(self, name: str, snapshot: str, children: bool) -> None:
        """See Machines."""
        machine = self._find(name)
        gone = {snapshot}
        if snapshot not in {s.name for s, _, _ in machine.snapshots}:
            raise NotFound(f"machine {name} has no snapshot {snapshot}")
        for row, _, _ in machine.snapshots if children else ():
            if row.parent in gone:
                gone.add(row.name)
        machine.snapshots = [row for row in machine.snapshots if row[0].name not in gone]

    def copy_disks(self, name: str, xml: str, cancel: threading.Event) -> None:
        """See Machines."""
        live = self._active(name).live
        assert live is not None
        sources = {disks.target_of(one): disks.source_path(one) for one in devices_of(live).findall("disk")}
        for wanted in parse(xml).iterfind("disks/disk[@backup='yes']"):
            path = attribute(wanted, "target", "file")
            self._images.copy(
                sources[str(wanted.get("name"))], attribute(wanted, "driver", "type"), path, cancel
            )

    def job_percent(self, name: str) -> int | None:
        """See Machines."""
        return None

    def open_console(
        self, name: str, force: bool, output: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> Console:
        """See Machines: it echoes."""
        self._active(name)
        return _Echo(output)

    def addresses(self, name: str) -> Sequence[Address]:
        """See Machines."""
        live = self._live(name)
        found = interfaces.named_interfaces(devices_of(live))
        return [Address(interfaces.read_interface(key, e).mac, "192.0.2.1/24") for key, e in found]

    def stats(self, names: Sequence[str]) -> Sequence[Stats]:
        """See Machines."""
        rows = []
        for name, machine in sorted(self._machines.items()):
            if name in names or (not names and machine.live is not None):
                root = machine.live if machine.live is not None else machine.stored
                targets = [disks.target_of(e) for e in devices_of(root).findall("disk")]
                drives = tuple(DiskStats(target, 0, 0, 0, 0) for target in targets)
                rows.append(
                    Stats(name, machine.state, time.monotonic_ns(), memory_of(root)[0], None, None, drives)
                )
        return rows

    def _find(self, name: str) -> _Machine:
        try:
            return self._machines[name]
        except KeyError:
            raise NotFound(f"there is no machine {name}") from None

    def _active(self, name: str) -> _Machine:
        machine = self._find(name)
        if machine.live is None:
            raise WrongState(f"machine {name} is off")
        return machine

    def _live(self, name: str) -> Element:
        live = self._active(name).live
        assert live is not None  # asked
        return live

    def _off(self, name: str, reason: str) -> None:
        with self._lock:
            machine = self._active(name)
            machine.live, machine.state, machine.reason = None, State.OFF, reason
        self._tell(Subject.MACHINE, name)


class _Echo:
    """See Console."""

    def __init__(self, output: Callable[[bytes], None]) -> None:
        self._output = output

    def send(self, data: bytes) -> None:
        """See Console."""
        self._output(data)

    def pause(self) -> None:
        """See Console."""

    def resume(self) -> None:
        """See Console."""

    def close(self) -> None:
        """See Console."""


def _current(snapshot: Snapshot, name: str) -> Snapshot:
    return Snapshot(
        snapshot.name,
        snapshot.description,
        snapshot.created,
        snapshot.state,
        snapshot.parent,
        snapshot.name == name,
    )


def _same(devices: Element, wanted: Element) -> Element:
    """The device that libvirt would take it for: a disk by its target, an interface by its address."""
    for element in devices.findall(wanted.tag):
        if wanted.tag == "disk" and disks.target_of(element) == disks.target_of(wanted):
            return element
        if wanted.tag == "interface" and _mac(element) == _mac(wanted):
            return element
    raise WrongState("there is no such device")


def _mac(element: Element) -> str:
    return interfaces.read_interface("", element).mac
