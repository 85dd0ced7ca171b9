"""Protobuf <-> the nouns of generations. No decisions."""

from __future__ import annotations

from google.protobuf.message import Message

from common import spec as specs
from common.errors import InvalidRequest
from nixcc.system.v1 import generation_pb2 as pb
from services.system.generation.models import (
    Confirm,
    Difference,
    Generation,
    Mode,
    Probe,
    UnitChanges,
    Window,
    Wish,
)

_MODES = {
    Mode.SWITCH: pb.SWITCH_MODE_SWITCH,
    Mode.BOOT: pb.SWITCH_MODE_BOOT,
    Mode.TEST: pb.SWITCH_MODE_TEST,
}
_MODE_OF = {number: mode for mode, number in _MODES.items()}
_CONFIRMATIONS = {Confirm.AUTO: pb.CONFIRMATION_AUTO, Confirm.MANUAL: pb.CONFIRMATION_MANUAL}
_CONFIRM_OF = {number: confirm for confirm, number in _CONFIRMATIONS.items()}


def checked(spec: pb.Generation) -> Wish:
    """What was asked for by an rpc, with the defaults filled in; raises InvalidRequest as admission would."""
    copy = pb.Generation()
    copy.CopyFrom(spec)
    specs.fill_defaults(copy)
    if violations := specs.violations(copy):
        text = "; ".join(f"{one.field}: {one.description}" for one in violations[:3])
        raise InvalidRequest(f"it can't be switched to that: {text}", violations)
    return wish(copy)


def wish(spec: pb.Generation) -> Wish:
    """A spec whose defaults are filled in."""
    return Wish(
        flake=spec.flake,
        attribute=spec.attribute,
        toplevel=spec.toplevel,
        mode=_MODE_OF.get(spec.mode, Mode.SWITCH),
        specialisation=spec.specialisation,
        probes=tuple(map(_probe, spec.probes)),
        no_new_failed_units=spec.no_new_failed_units,
        confirm=_CONFIRM_OF.get(spec.confirm, Confirm.AUTO),
        deadline=float(spec.deadline),
    )


def _probe(message: pb.Probe) -> Probe:
    sort = message.WhichOneof("check")
    if sort is None:
        raise InvalidRequest(
            f"probe {message.name or '(without a name)'}: one of unit, http, tcp, dns and command"
        )
    value = getattr(message, sort)
    arguments = {"unit": value} if sort == "unit" else _fields(value)
    return Probe(message.name, sort, arguments, float(message.timeout))


def _fields(message: Message) -> dict[str, object]:
    found: dict[str, object] = {}
    for field, value in message.ListFields():
        found[field.name] = list(value) if field.name == "argv" else value
    return found


def mode(value: Mode) -> pb.SwitchMode.ValueType:
    """As the wire says it."""
    return _MODES[value]


def window(found: Window, number: int) -> pb.Window:
    """A window; `number` is the profile's generation now."""
    message = pb.Window(
        id=found.id,
        state=pb.WindowState.Value(f"WINDOW_STATE_{found.state}"),
        mode=_MODES[found.mode],
        old_toplevel=found.old,
        new_toplevel=found.new,
        specialisation=found.specialisation,
        confirm=_CONFIRMATIONS[found.confirm],
        reason=found.reason,
        exit_code=found.exit_code,
        guarded=found.guarded,
        generation=number,
    )
    message.start_time.FromMilliseconds(int(found.started * 1000))
    message.deadline.FromMilliseconds(int(found.deadline * 1000))
    if found.ended:
        message.end_time.FromMilliseconds(int(found.ended * 1000))
    return message


def generation(found: Generation) -> pb.GenerationInfo:
    """One of a profile."""
    return pb.GenerationInfo(
        number=found.number,
        date=found.date,
        nixos_version=found.nixos_version,
        kernel_version=found.kernel_version,
        configuration_revision=found.configuration_revision,
        specialisations=found.specialisations,
        current=found.current,
        toplevel=found.toplevel,
        running=found.running,
        booted=found.booted,
    )


def difference(found: Difference) -> pb.GenerationDiff:
    """What switching would change."""
    message = pb.GenerationDiff(
        old_toplevel=found.old,
        new_toplevel=found.new,
        old_closure_bytes=found.old_size,
        new_closure_bytes=found.new_size,
        units=None if found.units is None else _units(found.units),
        reboot_reasons=found.reboot_reasons,
        boot_free_bytes=found.boot_free,
        boot_needed_bytes=found.boot_needed,
        inhibitors=found.inhibitors,
        specialisations=found.specialisations,
    )
    for change in found.packages:
        message.packages.add(
            name=change.name,
            old_versions=change.old,
            new_versions=change.new,
            size_change=change.size_change,
        )
    return message


def _units(found: UnitChanges) -> pb.UnitChanges:
    return pb.UnitChanges(
        stop=found.stop,
        restart=found.restart,
        start=found.start,
        reload=found.reload,
        keep=found.keep,
        systemd=found.systemd,
    )
