"""The domain rpcs' rules: models in, models out. Blocking; the rpcs call it in the service's executor."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

from common.errors import ControlError, InvalidRequest, NotFound, Violation, WrongState
from services.vm.drivers.base import Cancel, Console, Listener, VmDriver
from services.vm.models import Address, Hypervisor, Machine, Snapshot, Stats
from services.vm.reported import Reported
from services.vm.xml.tree import dump

_SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_DESCRIPTION = 4_096


class VmService:
    """Machines as they are, and what may be done to them that is no change of their spec."""

    def __init__(self, driver: VmDriver) -> None:
        self._driver = driver

    def machines(self) -> Sequence[Machine]:
        """All machines, sorted by name; those that go away meanwhile are left out."""
        machines = self._driver.machines
        return [machine for machine in machines.get_many(machines.names()).values() if machine is not None]

    def machine(self, name: str) -> Machine:
        """The machine; NotFound where there is none."""
        machine = self._driver.machines.get(name)
        if machine is None:
            raise NotFound(f"there is no machine {name!r}", next_step="ncc vm lists them")
        return machine

    def find(self, name: str) -> Machine | None:
        """The machine, or None."""
        return self._driver.machines.get(name)

    def addresses(self, machine: Machine) -> Sequence[Address]:
        """Its addresses, as far as the hypervisor knows them; none while it is off."""
        if not machine.active:
            return ()
        try:
            return self._driver.machines.addresses(machine.name)
        except ControlError:
            return ()  # an extra: the machine itself was read well

    def reboot(self, name: str) -> None:
        """Asks it to restart."""
        self._running(name)
        self._driver.machines.reboot(name)

    def reset(self, name: str) -> None:
        """Restarts it at once."""
        self._running(name)
        self._driver.machines.reset(name)

    def snapshots(self, name: str) -> Sequence[Snapshot]:
        """Its snapshots, the oldest first."""
        self.machine(name)
        return self._driver.machines.snapshots(name)

    def create_snapshot(
        self,
        name: str,
        snapshot: str,
        description: str,
        disks_only: bool,
        report: Callable[[int | None], None],
    ) -> Snapshot:
        """Makes a snapshot; `report` is told percents."""
        self.machine(name)
        snapshot = snapshot or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        if not _SNAPSHOT_NAME.fullmatch(snapshot):
            raise InvalidRequest(
                f"{snapshot[:80]!r} is no name for a snapshot",
                [Violation("name", "1 to 100 letters, digits, '.', '_', '-', the first a letter or digit")],
            )
        if len(description) > _LONGEST_DESCRIPTION or not all(
            c.isprintable() or c in "\n\t" for c in description
        ):
            raise InvalidRequest(
                "the description can't be kept",
                [Violation("description", f"at most {_LONGEST_DESCRIPTION} printable characters")],
            )
        root = ET.Element("domainsnapshot")
        ET.SubElement(root, "name").text = snapshot
        if description:
            ET.SubElement(root, "description").text = description
        with Reported(self._driver, name, report):
            self._driver.machines.create_snapshot(name, dump(root), disks_only)
        return self._snapshot(name, snapshot)

    def revert_snapshot(self, name: str, snapshot: str, report: Callable[[int | None], None]) -> Machine:
        """Goes back to a snapshot; gives the machine as it is then."""
        self._snapshot(name, snapshot)
        with Reported(self._driver, name, report):
            self._driver.machines.revert_snapshot(name, snapshot)
        return self.machine(name)

    def delete_snapshot(
        self, name: str, snapshot: str, children: bool, report: Callable[[int | None], None]
    ) -> None:
        """Removes a snapshot, and those that follow it where asked."""
        self._snapshot(name, snapshot)
        with Reported(self._driver, name, report):
            self._driver.machines.delete_snapshot(name, snapshot, children)

    def open_console(
        self, name: str, force: bool, output: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> Console:
        """Connects to its serial console."""
        self._running(name)
        return self._driver.machines.open_console(name, force, output, ended)

    def stats(self, names: Sequence[str]) -> Sequence[Stats]:
        """What machines used; NotFound for an unknown name."""
        found = self._driver.machines.stats(names)
        missing = set(names) - {row.name for row in found}
        if missing:
            raise NotFound(f"there is no machine {min(missing)!r}", next_step="ncc vm lists them")
        return found

    def hypervisor(self) -> Hypervisor:
        """Facts about it."""
        return self._driver.hypervisor()

    def subscribe(self, listener: Listener) -> Cancel:
        """Tells of changes, from a thread of the driver's."""
        return self._driver.subscribe(listener)

    def _running(self, name: str) -> Machine:
        machine = self.machine(name)
        if not machine.active:
            raise WrongState(f"machine {name} is off", next_step=f"start it: ncc vm start {name}")
        return machine

    def _snapshot(self, name: str, snapshot: str) -> Snapshot:
        for found in self.snapshots(name):
            if found.name == snapshot:
                return found
        raise NotFound(
            f"machine {name} has no snapshot {snapshot!r}", next_step=f"list them: ncc vm snapshot {name}"
        )
