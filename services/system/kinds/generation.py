"""Kind Generation: there is one, named `system`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from common.errors import ControlError, HostUnavailable, RolledBack, Violation, WrongState
from common.manager import Action, Applied, Change, Detected, Emit, Report
from nixcc.resource.v1.resource_pb2 import Progress, Renderings
from nixcc.system.v1 import generation_pb2
from services.system.drivers.nixos_build import local
from services.system.generation import wire
from services.system.generation.models import Mode, Record
from services.system.generation.service import GenerationService

Generation = generation_pb2.Generation

KEY = "system"
# Seconds after which to look again at a window that somebody else has opened.
_AGAIN = 5.0


class GenerationKind:
    """What runs is compared with the record of what was last confirmed here.

    `write` puts what all services add where the next build takes it; `read` tells what a system's desired.json holds.
    """

    spec = Generation

    def __init__(
        self,
        service: GenerationService,
        write: Callable[[Renderings], None],
        read: Callable[[bytes], Renderings],
    ) -> None:
        self._service, self._write, self._read = service, write, read
        # A host always has a generation: after a DELETE it counts as absent until it is declared again.
        self._released = False

    def unsupported(self) -> str:
        return self._service.unsupported()

    def validate(self, name: str, spec: Generation) -> Sequence[Violation]:
        found = []
        if name != KEY:
            found.append(Violation("metadata.name", f"there is one generation per host: it is named {KEY}"))
        if bool(spec.flake) == bool(spec.toplevel):
            found.append(Violation("flake", "either a flake or a toplevel must be named"))
        if spec.toplevel and spec.attribute:
            found.append(Violation("attribute", "a toplevel has none"))
        if spec.mode == generation_pb2.SWITCH_MODE_BOOT and spec.specialisation:
            found.append(
                Violation("specialisation", "one is run by SWITCH and TEST, or chosen in the boot menu")
            )
        found += [
            Violation(f"probes[{index}]", "must have one of unit, http, tcp, dns and command")
            for index, probe in enumerate(spec.probes)
            if probe.WhichOneof("check") is None
        ]
        found += [
            Violation(f"probes[{index}].command.argv", "must name a program")
            for index, probe in enumerate(spec.probes)
            if probe.WhichOneof("check") == "command" and not probe.command.argv
        ]
        names = [probe.name for probe in spec.probes]
        found += [
            Violation(f"probes[{index}].name", f"{name!r} stands there twice")
            for index, name in enumerate(names)
            if name in names[:index]
        ]
        if spec.HasField("retention") and not spec.retention.ListFields():
            found.append(Violation("retention", "must say keep, max_age, or both"))
        if spec.HasField("renderings"):
            found.append(Violation("renderings", "is filled in by the control center"))
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[Generation] | ControlError | None]:
        found = None if self._released else self._detect()
        return {key: found if key == KEY else None for key in keys}

    def apply(self, change: Change[Generation], report: Report) -> Applied:
        if change.action is Action.DELETE or change.desired is None:
            self._released = True
            return Applied("the host keeps its generations, unmanaged", changed=False)
        self._released = False
        spec, service = change.desired, self._service
        window = service.window()
        if window is not None and not window.state.ended:
            raise HostUnavailable(f"a switch to {window.new} is under way", retry_after=_AGAIN)
        if change.changed and all(path.startswith("retention") for path in change.changed):
            return self._retain(spec)

        def tell(event: Progress) -> None:
            report(event.message, event.percent if event.HasField("percent") else None)

        wish, cancel = wire.wish(spec), threading.Event()
        rendered = not change.changed or any(path.startswith("renderings") for path in change.changed)
        if spec.flake:
            self._write(spec.renderings)
        built = service.build(wish, tell, cancel)
        if rendered:
            self._check_rendered(spec, built.toplevel)
        if failed := service.failed_before(wish, built):
            raise RolledBack(
                f"this very generation was rolled back: {failed.reason}",
                next_step="change what failed, or try again by hand: ncc generation switch",
            )
        ended = service.switch_built(wish, built, tell, cancel)
        if spec.HasField("retention"):
            self._retain(spec)
        word = {Mode.SWITCH: "switched to", Mode.BOOT: "starts next with", Mode.TEST: "tries"}[ended.mode]
        return Applied(f"{word} {ended.new}")

    def watch(self, emit: Emit) -> None:
        self._service.host.watch(lambda: emit((KEY,)))

    def hold(self, keys: Sequence[str]) -> None:
        """One key: it is always watched."""

    def drop(self, keys: Sequence[str]) -> None:
        """One key: it is always watched."""

    def close(self) -> None:
        self._service.host.close()
        self._service.close()

    def _detect(self) -> Detected[Generation]:
        service = self._service
        service.settle()
        running, record = service.host.running(), service.records.read()
        spec = Generation()
        if record is None or not self._in_effect(record, running):
            if running:
                spec.toplevel = running
            spec.renderings.CopyFrom(self._held(running))
            return Detected(spec)
        unhealthy = ""
        if record.flake:
            spec.flake, spec.attribute = record.flake, record.attribute
            if local(record.flake):
                try:
                    now = service.builder.source(record.flake)
                    if record.locked and now != record.locked:
                        spec.flake = f"path:{record.locked}"
                except ControlError as error:
                    unhealthy = f"the flake can't be read: {error.message}"
            if not record.attribute:
                spec.ClearField("attribute")
        else:
            spec.toplevel = record.toplevel
        spec.mode = wire.mode(record.mode)
        if record.specialisation:
            spec.specialisation = record.specialisation
        pending: tuple[str, ...] = ()
        if record.mode is Mode.BOOT and running != record.toplevel:
            pending = ("flake" if record.flake else "toplevel",)
        if (record.keep or record.max_age) and not service.surplus(
            record.keep or None, record.max_age or None
        ):
            spec.retention.SetInParent()
            if record.keep:
                spec.retention.keep = record.keep
            if record.max_age:
                spec.retention.max_age = record.max_age
        spec.renderings.CopyFrom(self._held(record.toplevel))
        return Detected(spec, pending=pending, unhealthy=unhealthy)

    def _in_effect(self, record: Record, running: str) -> bool:
        """Whether the host is still as it was confirmed."""
        host, target = self._service.host, record.toplevel
        runs = host.resolved(record.toplevel, record.specialisation) == running
        return {
            Mode.SWITCH: runs and host.default() == target,
            Mode.BOOT: host.default() == target,
            Mode.TEST: runs,
        }[record.mode]

    def _held(self, toplevel: str) -> Renderings:
        """What of our resources a system contains."""
        data = self._service.host.desired(toplevel) if toplevel else b""
        return self._read(data) if data else Renderings()

    def _check_rendered(self, spec: Generation, toplevel: str) -> None:
        """What was asked to be part of the system must be, or it would be switched to again and again."""
        held = {(one.kind, one.name): one.options_json for one in self._held(toplevel).resources}
        wanted = {(one.kind, one.name): one.options_json for one in spec.renderings.resources}
        if held == wanted:
            return
        kind, name = min(held.items() ^ wanted.items())[0]
        how = "lacks" if (kind, name) in wanted else "still contains"
        raise WrongState(
            f"nothing was switched: the system {how} {kind} {name} of what is declared here",
            next_step="let its flake import nixcc's module with the input nixcc-desired, or add `renderings` to "
            "the policy's ignored_fields",
        )

    def _retain(self, spec: Generation) -> Applied:
        policy = spec.retention
        gone = self._service.retain(
            policy.keep if policy.HasField("keep") else None,
            policy.max_age if policy.HasField("max_age") else None,
        )
        return Applied(f"deleted {len(gone)} old generations", changed=bool(gone))
