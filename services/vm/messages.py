"""Models as messages of nixcc.vm.v1."""

from __future__ import annotations

from collections.abc import Sequence

from nixcc.vm.v1 import vm_service_pb2 as pb
from services.vm.models import Address, Machine, Snapshot, State, Stats
from services.vm.xml.domain import read_machine
from services.vm.xml.notes import read_notes
from services.vm.xml.tree import parse


def state_value(state: State) -> pb.VmState.ValueType:
    """The enum's value."""
    return pb.VmState.Value(f"VM_STATE_{state}")


def machine_message(machine: Machine, addresses: Sequence[Address] = ()) -> pb.Vm:
    """A machine: what is in use while it runs, what it will have while it is off."""
    root = parse(machine.live if machine.live is not None else machine.stored)
    notes = read_notes(root)
    spec = read_machine(root, notes)
    message = pb.Vm(
        name=machine.name,
        uuid=machine.uuid,
        state=state_value(machine.state),
        reason=machine.reason,
        cpus=spec.cpus,
        memory=spec.memory,
        autostart=machine.autostart,
        persistent=machine.persistent,
        labels=notes.labels,
    )
    for address in addresses:
        message.addresses.add(mac=address.mac, address=address.address)
    return message


def snapshot_message(snapshot: Snapshot) -> pb.Snapshot:
    """A snapshot."""
    message = pb.Snapshot(
        name=snapshot.name,
        description=snapshot.description,
        state=state_value(snapshot.state),
        parent=snapshot.parent,
        current=snapshot.current,
    )
    message.create_time.FromSeconds(snapshot.created)
    return message


def stats_message(stats: Stats, percent: float | None) -> pb.VmStats:
    """What a machine used."""
    message = pb.VmStats(
        name=stats.name,
        state=state_value(stats.state),
        cpu_time_ns=stats.cpu_time_ns,
        cpu_percent=percent,
        memory=stats.memory,
        memory_resident=stats.memory_resident,
        memory_unused=stats.memory_unused,
    )
    for disk in stats.disks:
        message.disks.add(
            target=disk.target,
            read_bytes=disk.read_bytes,
            written_bytes=disk.written_bytes,
            reads=disk.reads,
            writes=disk.writes,
        )
    for row in stats.interfaces:
        message.interfaces.add(
            device=row.device,
            received_bytes=row.received_bytes,
            sent_bytes=row.sent_bytes,
            received_packets=row.received_packets,
            sent_packets=row.sent_packets,
        )
    return message
