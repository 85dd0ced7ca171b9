"""Kind Sysctl."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common import spec as specs
from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Emit, JsonValue, Report
from nixcc.system.v1 import sysctl_pb2
from services.system.drivers.base import SysctlDriver
from services.system.drivers.polling import SECONDS, Polling
from services.system.models import SysctlState, canonical_parameter, folded

Sysctl = sysctl_pb2.Sysctl


class SysctlKind:
    """Kernel parameters. `unsupported` says why this host (or this root) can't have them."""

    spec = Sysctl

    def __init__(self, driver: SysctlDriver, *, unsupported: str = "", seconds: float = SECONDS) -> None:
        self._driver = driver
        self._unsupported = unsupported
        self._seconds = seconds
        self._polling: Polling | None = None

    def unsupported(self) -> str:
        return self._unsupported

    def validate(self, name: str, spec: Sysctl) -> Sequence[Violation]:
        if not spec.name:
            spec.name = name
            if wrong := specs.violations(spec):
                return [Violation("name", f"must be set, since {name!r} is no parameter"), *wrong[1:]]
        spec.name = canonical_parameter(spec.name)
        spec.value = folded(spec.value)
        if any(part in ("", ".", "..") for part in spec.name.replace("/", ".").split(".")):
            return [Violation("name", "has an empty part")]
        return [] if spec.value else [Violation("value", "must not be empty")]

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[Sysctl] | ControlError | None]:
        found: dict[str, Detected[Sysctl] | ControlError | None] = {}
        for name, state in self._driver.read(keys).items():
            if isinstance(state, SysctlState):
                # Either may have been changed by somebody else: the record tells which one.
                value = state.live if state.stored == state.applied else state.stored
                found[name] = Detected(Sysctl(name=name, value=value))
            else:
                found[name] = state
        return found

    def apply(self, change: Change[Sysctl], report: Report) -> Applied:
        name = change.key
        if change.action is Action.DELETE or change.desired is None:
            removed = self._driver.remove(name)
            return Applied(
                f"{name} is as it was before" if removed else f"{name} was not kept", changed=removed
            )
        value = change.desired.value
        changed = self._driver.write(name, value)
        return Applied(f"set {name} = {value}" if changed else f"{name} was so already", changed=changed)

    def enumerate(self) -> Sequence[str]:
        return self._driver.kept()

    def watch(self, emit: Emit) -> None:
        if not self._unsupported:
            self._polling = Polling(self._look, emit, self._seconds)

    def hold(self, keys: Sequence[str]) -> None:
        if self._polling is not None:
            self._polling.hold(keys)

    def drop(self, keys: Sequence[str]) -> None:
        if self._polling is not None:
            self._polling.drop(keys)

    def close(self) -> None:
        if self._polling is not None:
            self._polling.close()
            self._polling = None

    def render(self, name: str, spec: Sysctl) -> Mapping[str, JsonValue]:
        return {"boot": {"kernel": {"sysctl": {spec.name: spec.value}}}}

    def _look(self, keys: Sequence[str]) -> Mapping[str, object]:
        return {
            name: None if isinstance(s, ControlError) else s for name, s in self._driver.read(keys).items()
        }
