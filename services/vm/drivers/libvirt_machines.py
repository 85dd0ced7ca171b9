"""libvirt's domains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import libvirt

from common.errors import WrongState
from services.vm.drivers.base import Console
from services.vm.drivers.libvirt_backup import LibvirtBackup
from services.vm.drivers.libvirt_calls import Calls, missing_is_none
from services.vm.drivers.libvirt_console import open_console
from services.vm.drivers.libvirt_snapshots import LibvirtSnapshots
from services.vm.drivers.libvirt_stats import read_stats
from services.vm.models import Address, Machine, State, Stats
from services.vm.xml.tree import NAMESPACE

STATES: Mapping[int, State] = {
    libvirt.VIR_DOMAIN_NOSTATE: State.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: State.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: State.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: State.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: State.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: State.OFF,
    libvirt.VIR_DOMAIN_CRASHED: State.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: State.SUSPENDED,
}
_REASONS: Mapping[State, Mapping[int, str]] = {
    State.RUNNING: {
        libvirt.VIR_DOMAIN_RUNNING_BOOTED: "booted",
        libvirt.VIR_DOMAIN_RUNNING_MIGRATED: "migrated",
        libvirt.VIR_DOMAIN_RUNNING_RESTORED: "restored",
        libvirt.VIR_DOMAIN_RUNNING_FROM_SNAPSHOT: "from snapshot",
        libvirt.VIR_DOMAIN_RUNNING_UNPAUSED: "resumed",
        libvirt.VIR_DOMAIN_RUNNING_WAKEUP: "woken",
    },
    State.PAUSED: {
        libvirt.VIR_DOMAIN_PAUSED_USER: "paused",
        libvirt.VIR_DOMAIN_PAUSED_MIGRATION: "migrating",
        libvirt.VIR_DOMAIN_PAUSED_SAVE: "saving",
        libvirt.VIR_DOMAIN_PAUSED_DUMP: "dumping",
        libvirt.VIR_DOMAIN_PAUSED_IOERROR: "I/O error",
        libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: "watchdog",
        libvirt.VIR_DOMAIN_PAUSED_FROM_SNAPSHOT: "from snapshot",
        libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT: "snapshot",
        libvirt.VIR_DOMAIN_PAUSED_CRASHED: "crashed",
        libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: "starting",
    },
    State.OFF: {
        libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: "shut down",
        libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: "destroyed",
        libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: "crashed",
        libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: "migrated",
        libvirt.VIR_DOMAIN_SHUTOFF_SAVED: "saved",
        libvirt.VIR_DOMAIN_SHUTOFF_FAILED: "failed to start",
        libvirt.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT: "from snapshot",
    },
    State.CRASHED: {libvirt.VIR_DOMAIN_CRASHED_PANICKED: "panicked"},
}
_RUNS = re.compile(r"<domain\b[^>]*\sid=")
# From so many on they are asked for together.
_FEW = 4
_STORED = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
_LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)


class LibvirtMachines(LibvirtSnapshots, LibvirtBackup):
    """See Machines."""

    def __init__(self, calls: Calls) -> None:
        super().__init__(calls)
        self._calls = calls

    def names(self) -> Sequence[str]:
        """See Machines."""
        with self._calls.connected("machines can't be listed") as connection:
            return sorted(domain.name() for domain in connection.listAllDomains())

    def get(self, name: str) -> Machine | None:
        """See Machines."""
        with missing_is_none(), self._calls.domain(name, "reading machine") as domain:
            return _read(domain, _ask(domain))
        return None

    def get_many(self, names: Sequence[str]) -> Mapping[str, Machine | None]:
        """See Machines."""
        if len(names) < _FEW:
            return {name: self.get(name) for name in names}
        found: dict[str, Machine | None] = dict.fromkeys(names)
        with self._calls.connected("machines can't be read") as connection:
            for domain, facts in _ask_all(connection):
                if domain.name() not in found:
                    continue
                try:
                    found[domain.name()] = _read(domain, facts)
                except libvirt.libvirtError as error:
                    if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                        raise
        return found

    def define(self, xml: str) -> None:
        """See Machines."""
        with self._calls.connected("libvirt refuses the machine's definition") as connection:
            connection.defineXML(xml)

    def undefine(self, name: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "undefining machine") as domain:
            try:
                domain.undefineFlags(_UNDEFINE | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
                    raise
                # libvirt's test driver has no firmware variables.
                domain.undefineFlags(_UNDEFINE & ~libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)

    def start(self, name: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "starting machine") as domain:
            try:
                domain.create()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_INTERNAL_ERROR and domain.isActive():
                    raise WrongState(f"machine {name} runs already") from error
                raise

    def resume(self, name: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "resuming machine") as domain:
            if domain.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED:
                domain.pMWakeup()
            else:
                domain.resume()

    def shutdown(self, name: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "shutting down machine") as domain:
            domain.shutdown()

    def destroy(self, name: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "switching off machine") as domain:
            domain.destroy()

    def reboot(self, name: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "rebooting machine") as domain:
            domain.reboot()

    def reset(self, name: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "resetting machine") as domain:
            domain.reset()

    def set_autostart(self, name: str, value: bool) -> None:
        """See Machines."""
        with self._calls.domain(name, "changing the autostart of machine") as domain:
            domain.setAutostart(int(value))

    def set_memory(self, name: str, size: int) -> None:
        """See Machines."""
        with self._calls.domain(name, "changing the memory of machine") as domain:
            domain.setMemoryFlags(size // 1024, _LIVE)

    def set_cpus(self, name: str, count: int) -> None:
        """See Machines."""
        with self._calls.domain(name, "changing the CPUs of machine") as domain:
            domain.setVcpusFlags(count, _LIVE)

    def set_notes(self, name: str, xml: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "changing the metadata of machine") as domain:
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, "nixcc", NAMESPACE, _LIVE)

    def resize_disk(self, name: str, target: str, size: int) -> None:
        """See Machines."""
        with self._calls.domain(name, f"growing disk {target} of machine") as domain:
            domain.blockResize(target, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def attach(self, name: str, xml: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "attaching a device to machine") as domain:
            domain.attachDeviceFlags(xml, _LIVE)

    def detach(self, name: str, xml: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "detaching a device from machine") as domain:
            domain.detachDeviceFlags(xml, _LIVE)

    def update(self, name: str, xml: str) -> None:
        """See Machines."""
        with self._calls.domain(name, "changing a device of machine") as domain:
            domain.updateDeviceFlags(xml, _LIVE)

    def job_percent(self, name: str) -> int | None:
        """See Machines."""
        with self._calls.domain(name, "asking for the job of machine") as domain:
            found = domain.jobInfo()
            # Type, then among others the whole and what is left of it.
            total, left = found[3], found[5]
            if found[0] == libvirt.VIR_DOMAIN_JOB_NONE or not total:
                return None
            return int(100 * (total - left) / total)

    def open_console(
        self, name: str, force: bool, output: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> Console:
        """See Machines."""
        with self._calls.domain(name, "connecting to the console of machine") as domain:
            return open_console(domain, force, output, ended)

    def addresses(self, name: str) -> Sequence[Address]:
        """See Machines: what libvirt's DHCP servers handed out."""
        with self._calls.domain(name, "asking for the addresses of machine") as domain:
            if not domain.isActive():
                return ()
            try:
                found = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                    return ()
                raise
            return [
                Address(interface["hwaddr"], f"{address['addr']}/{address['prefix']}")
                for interface in found.values()
                for address in interface["addrs"] or ()
            ]

    def stats(self, names: Sequence[str]) -> Sequence[Stats]:
        """See Machines."""
        with self._calls.connected("statistics can't be read") as connection:
            return read_stats(connection, names, STATES)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is asked of all machines in one call, or of one in a few."""

    state: int
    reason: int
    autostart: bool
    persistent: bool


def _ask(domain: Any) -> _Facts:
    state, reason = domain.state()
    persistent = bool(domain.isPersistent())
    return _Facts(state, reason, bool(domain.autostart()) if persistent else False, persistent)


def _ask_all(connection: Any) -> Iterator[tuple[Any, _Facts]]:
    """All machines; a few calls whatever their number."""
    domains = connection.listAllDomains()
    if not domains:
        return
    autostarted, persistent = (
        {domain.name() for domain in connection.listAllDomains(flag)}
        for flag in (libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT)
    )
    for domain, values in connection.domainListGetStats(domains, libvirt.VIR_DOMAIN_STATS_STATE):
        name = domain.name()
        facts = _Facts(values["state.state"], values["state.reason"], name in autostarted, name in persistent)
        yield domain, facts


def _read(domain: Any, facts: _Facts) -> Machine:
    """All about one domain. It may start or stop meanwhile: an event follows, and it is read again."""
    state = STATES.get(facts.state, State.RUNNING)
    stored = domain.XMLDesc(_STORED)
    live = None
    if state is not State.OFF:
        text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
        # A definition with an id is that of a running machine.
        live = text if _RUNS.match(text) else None
    if live is None and state is not State.CRASHED:
        state = State.OFF
    return Machine(
        name=domain.name(),
        uuid=domain.UUIDString(),
        state=state,
        reason=_REASONS.get(state, {}).get(facts.reason, ""),
        autostart=facts.autostart,
        persistent=facts.persistent,
        stored=stored,
        live=live,
    )
