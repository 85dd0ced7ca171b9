"""Snapshots of libvirt's domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libvirt

from services.vm.drivers.libvirt_calls import Calls
from services.vm.models import Snapshot, State
from services.vm.xml.tree import parse, text_of

_STATES = {
    "running": State.RUNNING,
    "blocked": State.RUNNING,
    "paused": State.PAUSED,
    "shutdown": State.SHUTTING_DOWN,
    "shutoff": State.OFF,
    "crashed": State.CRASHED,
    "pmsuspended": State.SUSPENDED,
    "disk-snapshot": State.RUNNING,
}


class LibvirtSnapshots:
    """The part of Machines that is about snapshots."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def snapshots(self, name: str) -> Sequence[Snapshot]:
        """See Machines."""
        with self._calls.domain(name, "listing the snapshots of machine") as domain:
            current = domain.snapshotCurrent().getName() if domain.hasCurrentSnapshot() else ""
            found = [_read(snapshot, current) for snapshot in domain.listAllSnapshots()]
        return sorted(found, key=lambda snapshot: (snapshot.created, snapshot.name))

    def create_snapshot(self, name: str, xml: str, disks_only: bool) -> None:
        """See Machines."""
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
        with self._calls.domain(name, "making a snapshot of machine") as domain:
            domain.snapshotCreateXML(xml, flags if disks_only else 0)

    def revert_snapshot(self, name: str, snapshot: str) -> None:
        """See Machines."""
        with self._calls.domain(name, f"going back to snapshot {snapshot} of machine") as domain:
            domain.revertToSnapshot(domain.snapshotLookupByName(snapshot))

    def delete_snapshot(self, name: str, snapshot: str, children: bool) -> None:
        """See Machines."""
        flags = libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN if children else 0
        with self._calls.domain(name, f"removing snapshot {snapshot} of machine") as domain:
            domain.snapshotLookupByName(snapshot).delete(flags)


def _read(snapshot: Any, current: str) -> Snapshot:
    root = parse(snapshot.getXMLDesc())
    name = text_of(root, "name")
    return Snapshot(
        name=name,
        description=text_of(root, "description"),
        created=int(text_of(root, "creationTime") or 0),
        state=_STATES.get(text_of(root, "state"), State.OFF),
        parent=text_of(root, "parent/name"),
        current=name == current,
    )
