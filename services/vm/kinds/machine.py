"""The kind VirtualMachine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.drivers.base import VmDriver
from services.vm.kinds import hotplug, imaging, power, seeding
from services.vm.kinds.hints import Hints
from services.vm.kinds.machine_rules import check
from services.vm.kinds.pending import differing
from services.vm.models import Machine, Subject
from services.vm.xml.domain import read_machine
from services.vm.xml.domain_edit import Host, edit_domain, new_domain
from services.vm.xml.notes import Notes, read_notes, write_notes
from services.vm.xml.tree import canonical, dump, parse


class VirtualMachineKind:
    """Machines, by libvirt's name of them."""

    spec = pb.VirtualMachine

    def __init__(self, driver: VmDriver, reason: str = "") -> None:
        self._driver = driver
        self._reason = reason
        self._hints = Hints(driver, Subject.MACHINE)

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.VirtualMachine) -> Sequence[Violation]:
        """See Kind."""
        return check(spec)

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.VirtualMachine]]:
        """See Kind."""
        found: dict[str, Detection[pb.VirtualMachine]] = {}
        try:
            machines = self._driver.machines.get_many(keys)
        except ControlError as error:
            # Told of each, so that each is known to be unknown.
            return dict.fromkeys(keys, error)
        for key, machine in machines.items():
            try:
                found[key] = None if machine is None else self._observe(machine)
            except ControlError as error:
                found[key] = error
        return found

    def apply(self, change: Change[pb.VirtualMachine], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            return self._delete(change.key, report)
        spec = pb.VirtualMachine()
        spec.CopyFrom(change.desired)
        return self._make_so(change.key, spec, report)

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return self._driver.machines.names()

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._hints.start(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: events come for all machines."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._hints.stop()

    def _observe(self, machine: Machine) -> Detected[pb.VirtualMachine]:
        stored = parse(machine.stored)
        notes = read_notes(stored)
        spec = read_machine(stored, notes)
        waiting: list[str] = []
        if machine.live is not None:
            waiting = differing(spec, read_machine(parse(machine.live), notes))
        spec.autostart = machine.autostart
        # One that somebody undefined while it runs would be lost when it stops: it has to be stored again.
        running = power.is_running(machine) if machine.persistent else None
        if running is not None:
            spec.running = running
        wrong = imaging.describe(self._driver, spec, notes)
        digests = seeding.detect(spec, notes, self._driver.seeds)
        return Detected(spec, digests, waiting, power.unhealthy(machine) or "; ".join(wrong))

    def _make_so(self, name: str, spec: pb.VirtualMachine, report: Report) -> Applied:
        driver = self._driver
        machine = driver.machines.get(name)
        host = self._host()
        root = parse(machine.stored) if machine is not None else new_domain(name, spec, host)
        before = canonical(root) if machine is not None else ""
        notes = read_notes(root)
        _note(spec, notes)
        if machine is None and not spec.HasField("accelerator"):
            notes.accelerator = "AUTO"
        seed = seeding.prepare(name, spec, notes, driver.seeds)
        work = imaging.plan(driver, spec, notes, machine)
        edit_domain(root, spec, notes, host)
        write_notes(root, notes)
        done: list[str] = []
        if machine is None or canonical(root) != before or not machine.persistent:
            driver.machines.define(dump(root))
            done.append("defined" if machine is None else "changed")
        for step in work:
            report(step.message, None)
            step.run()
            done.append(step.message)
        if seed is not None and driver.seeds is not None and notes.seed is not None:
            driver.seeds.write(notes.seed.path, seed)
            done.append("wrote the cloud-init seed")
        waiting: list[str] = []
        pending = self._settle(name, spec, notes, report, done, waiting)
        told = [*done, *(f"waits for the next start: {reason}" for reason in waiting)]
        return Applied(f"{name}: {', '.join(told) or 'was so already'}", changed=bool(done), pending=pending)

    def _settle(
        self,
        name: str,
        spec: pb.VirtualMachine,
        notes: Notes,
        report: Report,
        done: list[str],
        waiting: list[str],
    ) -> Sequence[str]:
        """What is not in the definition; returns the paths that wait for the next start."""
        machines = self._driver.machines
        machine = _there(machines.get(name), name)
        if spec.HasField("autostart") and machine.autostart != spec.autostart:
            machines.set_autostart(name, spec.autostart)
            done.append(f"autostart {'on' if spec.autostart else 'off'}")
        grace = power.GRACE if notes.shutdown_timeout is None else float(notes.shutdown_timeout)
        if spec.HasField("running") and not spec.running:
            done.extend(filter(None, [power.switch_off(machines, machine, grace, report)]))
            return ()
        waiting.extend(hotplug.carry_over(machines, machine, notes))
        if spec.HasField("running"):
            done.extend(filter(None, [power.switch_on(machines, machine, grace)]))
        machine = _there(machines.get(name), name)
        if machine.live is None:
            return ()
        return differing(read_machine(parse(machine.stored), notes), read_machine(parse(machine.live), notes))

    def _delete(self, name: str, report: Report) -> Applied:
        driver = self._driver
        machine = driver.machines.get(name)
        if machine is None:
            return Applied("was gone already", changed=False)
        notes = read_notes(parse(machine.stored))
        grace = power.GRACE if notes.shutdown_timeout is None else float(notes.shutdown_timeout)
        power.switch_off(driver.machines, machine, grace, report)
        # Before the definition goes: it is what remembers them.
        removed = imaging.remove_made(driver, name, notes) if notes.delete_disks else []
        if notes.seed is not None and notes.seed.path and driver.seeds is not None:
            driver.seeds.remove(notes.seed.path)
        if machine.persistent:
            driver.machines.undefine(name)
        return Applied("; ".join([f"{name} is gone", *(f"deleted {path}" for path in removed)]))

    def _host(self) -> Host:
        facts = self._driver.hypervisor()

        def domain_type(accelerator: pb.Accelerator.ValueType) -> str:
            types = facts.domain_types
            if not {"kvm", "qemu"} & set(types):
                return types[0]
            if accelerator == pb.ACCELERATOR_KVM or (accelerator == pb.ACCELERATOR_AUTO and "kvm" in types):
                return "kvm"
            return "qemu"

        images = self._driver.images
        return Host(
            domain_type=domain_type,
            is_block=images.is_block if images is not None else lambda path: path.startswith("/dev/"),
            is_pc=facts.architecture in ("x86_64", "i686") and "test" not in facts.domain_types,
        )


def _note(spec: pb.VirtualMachine, notes: Notes) -> None:
    """What only the notes can hold."""
    notes.labels = dict(spec.labels)
    if spec.HasField("shutdown_timeout"):
        notes.shutdown_timeout = spec.shutdown_timeout
    if spec.HasField("delete_disks"):
        notes.delete_disks = spec.delete_disks


def _there(machine: Machine | None, name: str) -> Machine:
    if machine is None:
        raise ControlError(f"machine {name} went away while it was changed")
    return machine
