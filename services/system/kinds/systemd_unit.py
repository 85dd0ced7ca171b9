"""Kind SystemdUnit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from common import spec as specs
from common.errors import ControlError, InvalidRequest, Violation
from common.manager import Action, Applied, Change, Detected, Emit, JsonValue, Report
from nixcc.system.v1 import systemd_unit_pb2
from services.system.drivers.base import SystemdDriver
from services.system.models import UnitState, UnitWish

SystemdUnit = systemd_unit_pb2.SystemdUnit

# What starts a unit of each type with the host, as the [Install] sections of packages have it.
_WANTED_BY = {
    "service": "multi-user.target",
    "socket": "sockets.target",
    "timer": "timers.target",
    "path": "paths.target",
    "mount": "local-fs.target",
    "automount": "local-fs.target",
    "swap": "swap.target",
    "target": "multi-user.target",
}


class SystemdUnitKind:
    """Units. `why_unsupported` says why this host (or this root) can't have them."""

    spec = SystemdUnit

    def __init__(self, driver: SystemdDriver, why_unsupported: Callable[[], str] = lambda: "") -> None:
        self._driver = driver
        self._why_unsupported = why_unsupported
        # A unit stays when its resource goes: after a DELETE it counts as absent until it is declared again.
        self._released: set[str] = set()

    def unsupported(self) -> str:
        return self._why_unsupported()

    def validate(self, name: str, spec: SystemdUnit) -> Sequence[Violation]:
        if not spec.unit:
            spec.unit = name
            if specs.violations(spec):
                return [Violation("unit", f"must be set, since {name!r} is no unit")]
        found = []
        if spec.masked:
            found += [
                Violation(field, "a masked unit can't be started: leave this out or say false")
                for field, value in (("enabled", spec.enabled), ("active", spec.active))
                if value
            ]
        names = [drop_in.name for drop_in in spec.drop_ins]
        found += [
            Violation(f"drop_ins[{index}].name", f"{name!r} stands there twice")
            for index, name in enumerate(names)
            if name in names[:index]
        ]
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[SystemdUnit] | ControlError | None]:
        found: dict[str, Detected[SystemdUnit] | ControlError | None] = dict.fromkeys(keys)
        for unit, state in self._driver.read([key for key in keys if key not in self._released]).items():
            found[unit] = _detected(unit, state) if isinstance(state, UnitState) else state
        return found

    def apply(self, change: Change[SystemdUnit], report: Report) -> Applied:
        unit = change.key

        def tell(message: str) -> None:
            report(message, None)

        if change.action is Action.DELETE or change.desired is None:
            done = self._driver.write(unit, UnitWish(), tell)
            self._released.add(unit)
            return Applied(done or f"{unit} stays as it is, unmanaged", changed=bool(done))
        self._released.discard(unit)
        done = self._driver.write(unit, _wish(change.desired), tell)
        return Applied(done or f"{unit} was so already", changed=bool(done))

    def enumerate(self) -> Sequence[str]:
        return [unit for unit in self._driver.chosen() if unit not in self._released]

    def watch(self, emit: Emit) -> None:
        if not self.unsupported():
            self._driver.watch(emit)

    def hold(self, keys: Sequence[str]) -> None:
        self._driver.hold(keys)

    def drop(self, keys: Sequence[str]) -> None:
        self._driver.drop(keys)

    def close(self) -> None:
        self._driver.close()

    def render(self, name: str, spec: SystemdUnit) -> Mapping[str, JsonValue]:
        entry: dict[str, JsonValue] = {"overrideStrategy": "asDropin"}
        if spec.masked:
            entry["enable"] = False
        elif spec.HasField("enabled") and not spec.enabled:
            text = "NixOS has no option against being started by what wants the unit: say masked, or leave it out"
            raise InvalidRequest(f"{spec.unit}: {text}", [Violation("enabled", text)])
        elif spec.enabled:
            sort = spec.unit.rpartition(".")[2]
            if sort not in _WANTED_BY:
                text = f"NixOS starts no {sort} units with the host"
                raise InvalidRequest(f"{spec.unit}: {text}", [Violation("enabled", text)])
            entry["wantedBy"] = [_WANTED_BY[sort]]
        drop_ins = sorted((drop_in.name, drop_in.content) for drop_in in spec.drop_ins)
        entry["text"] = "".join(f"{content.rstrip()}\n" for _, content in drop_ins) or "[Unit]\n"
        return {"systemd": {"units": {spec.unit: entry}}}


def _wish(spec: SystemdUnit) -> UnitWish:
    return UnitWish(
        enabled=spec.enabled if spec.HasField("enabled") else None,
        active=spec.active if spec.HasField("active") else None,
        masked=spec.masked if spec.HasField("masked") else None,
        drop_ins=tuple(sorted((drop_in.name, drop_in.content) for drop_in in spec.drop_ins)),
        restart_on_change=spec.restart_on_change,
    )


def _detected(unit: str, state: UnitState) -> Detected[SystemdUnit]:
    spec = SystemdUnit(
        unit=unit, enabled=state.enabled, active=state.active, masked=state.masked, restart_on_change=True
    )
    for name, content in state.drop_ins:
        spec.drop_ins.add(name=name, content=content)
    return Detected(spec, unhealthy=state.failure)
