"""Copies of the disks of libvirt's running domains (https://libvirt.org/kbase/live_full_disk_backup.html)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from common.errors import Cancelled, WrongState
from services.vm.drivers.libvirt_calls import Calls

# Seconds between looks whether it has ended: libvirt tells by an event, which a restart of libvirtd would lose.
_LOOK = 0.2


class LibvirtBackup:
    """The part of Machines that copies disks."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def copy_disks(self, name: str, xml: str, cancel: threading.Event) -> None:
        """See Machines."""
        with self._calls.domain(name, "copying the disks of machine") as domain:
            with _whole(domain):
                domain.backupBegin(xml, None, 0)
            while domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
                if cancel.wait(_LOOK):
                    domain.abortJob()
                    raise Cancelled(f"copying the disks of {name} was cancelled")
            ended = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
            if ended.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED:
                reason = ended.get("errmsg") or "the machine ended, or there was no room"
                raise WrongState(
                    f"the disks of {name} were not copied: {reason}", next_step="see the machine's log"
                )


@contextmanager
def _whole(domain: Any) -> Iterator[None]:
    """While file systems of the guest are held: an instant, and only where its agent answers."""
    try:
        domain.fsFreeze()
    except libvirt.libvirtError:
        yield  # as after a power cut, which file systems survive
        return
    try:
        yield
    finally:
        domain.fsThaw()
