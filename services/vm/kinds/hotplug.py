"""Carries what is stored of a machine over to the one that runs, as far as that can be done without a restart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from xml.etree.ElementTree import Element

import structlog

from common.errors import ControlError, HostUnavailable
from services.vm.drivers.base import Machines
from services.vm.models import Machine
from services.vm.xml import disks, interfaces
from services.vm.xml.domain import cpus_of, devices_of, is_seed, memory_of
from services.vm.xml.notes import Notes, notes_xml
from services.vm.xml.tree import canonical, dump, parse

log = structlog.get_logger()


def carry_over(machines: Machines, machine: Machine, notes: Notes) -> list[str]:
    """Changes the running machine; returns why what could not be changed could not."""
    if machine.live is None:
        return []
    stored, live = parse(machine.stored), parse(machine.live)
    run = _Attempts(machine.name)
    if _notes_text(stored) != _notes_text(live):
        run("metadata", lambda: machines.set_notes(machine.name, notes_xml(notes)))
    cpus, (live_cpus, most_cpus) = cpus_of(stored)[0], cpus_of(live)
    if cpus != live_cpus and cpus <= most_cpus:
        run("cpus", lambda: machines.set_cpus(machine.name, cpus))
    memory, (live_memory, most_memory) = memory_of(stored)[0], memory_of(live)
    if memory != live_memory and memory <= most_memory:
        run("memory", lambda: machines.set_memory(machine.name, memory))
    _disks(run, machines, devices_of(stored), devices_of(live), notes.seed.path if notes.seed else "")
    _interfaces(run, machines, devices_of(stored), devices_of(live))
    return run.failed


class _Attempts:
    """Runs steps; what can't be done stays for the next start."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failed: list[str] = []

    def __call__(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except HostUnavailable:
            raise
        except ControlError as error:
            log.info(
                "a change waits for the machine's next start",
                machine=self.name,
                what=what,
                reason=str(error),
            )
            self.failed.append(f"{what}: {error.message}")


def _disks(run: _Attempts, machines: Machines, stored: Element, live: Element, seed: str) -> None:
    name = run.name
    wanted = {disks.target_of(e): e for e in stored.findall("disk") if disks.says(e)}
    there = {disks.target_of(e): e for e in live.findall("disk") if disks.says(e)}
    for target, old in there.items():
        if target not in wanted:
            run(f"disks[{target}]", partial(machines.detach, name, dump(old)))
    for target, new in wanted.items():
        found = there.get(target)
        if found is None:
            if not is_seed(new, seed):
                run(f"disks[{target}]", partial(machines.attach, name, _plain(new)))
        elif disks.read_disk(new) != disks.read_disk(found) and new.get("device") in ("cdrom", "floppy"):
            run(f"disks[{target}]", partial(machines.update, name, _plain(new)))


def _interfaces(run: _Attempts, machines: Machines, stored: Element, live: Element) -> None:
    name = run.name
    wanted = dict(interfaces.named_interfaces(stored))
    there = dict(interfaces.named_interfaces(live))
    for key, old in there.items():
        if key not in wanted:
            run(f"interfaces[{key}]", partial(machines.detach, name, dump(old)))
    for key, new in wanted.items():
        found = there.get(key)
        if found is None:
            run(f"interfaces[{key}]", partial(machines.attach, name, _plain(new)))
        elif interfaces.read_interface(key, new) != interfaces.read_interface(key, found):
            run(f"interfaces[{key}]", partial(machines.update, name, _plain(new)))


def _plain(element: Element) -> str:
    """The device without its slot: the stored one may be taken in the running machine."""
    copy = parse(dump(element))
    for address in copy.findall("address"):
        copy.remove(address)
    return dump(copy)


def _notes_text(root: Element) -> str:
    from services.vm.xml.notes import read_notes

    holder = Element("notes")
    holder.append(parse(notes_xml(read_notes(root))))
    return canonical(holder)
