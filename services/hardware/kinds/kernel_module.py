"""Kind KernelModule: protobuf <-> states, what the field rules can't say, and NixOS options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Emit, JsonValue, Report
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.base import ModuleDriver
from services.hardware.models.states import ModuleState

KernelModule = kinds_pb2.KernelModule

# modprobe.d separates words by blanks and knows quotes, comments and line continuation.
_VALUE = re.compile(r"[^\s\"'#\\]*")


class KernelModuleKind:
    """Modules of the running kernel; `confined`: why there can be none, empty: there can."""

    spec = KernelModule

    def __init__(self, driver: ModuleDriver, confined: str = "") -> None:
        self._driver = driver
        self._confined = confined

    def unsupported(self) -> str:
        return self._confined or self._driver.unsupported()

    def validate(self, name: str, spec: KernelModule) -> Sequence[Violation]:
        spec.module = spec.module.replace("-", "_")
        return [
            Violation(f"parameters.values[{key}]", "must hold no blanks, quotes, backslashes or number signs")
            for key, value in sorted(spec.parameters.values.items())
            if not _VALUE.fullmatch(value)
        ]

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[KernelModule] | ControlError | None]:
        return {
            name: _detected(state) if isinstance(state, ModuleState) else state
            for name, state in self._driver.read(keys).items()
        }

    def apply(self, change: Change[KernelModule], report: Report) -> Applied:
        name, desired = change.key, change.desired
        if change.action is Action.DELETE or desired is None:
            gone = self._driver.unload(name)
            return Applied(f"unloaded {name}" if gone else f"{name} was not loaded", changed=gone)
        parameters = dict(desired.parameters.values) if desired.HasField("parameters") else None
        done, pending = self._driver.load(name, parameters)
        return Applied(
            f"{name}: {done}" if done else f"{name} was so already",
            changed=bool(done),
            pending=[f"parameters.values[{key}]" for key in pending],
        )

    def enumerate(self) -> Sequence[str]:
        return [] if self.unsupported() else self._driver.present()

    def render(self, name: str, spec: KernelModule) -> Mapping[str, JsonValue]:
        boot: dict[str, JsonValue] = {"kernelModules": [spec.module]}
        if spec.parameters.values:
            words = " ".join(f"{key}={value}" for key, value in sorted(spec.parameters.values.items()))
            boot["extraModprobeConfig"] = f"options {spec.module} {words}\n"
        return {"boot": boot}

    def watch(self, emit: Emit) -> None:
        if not self.unsupported():
            self._driver.watch(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """The kernel tells of all modules together."""

    def drop(self, keys: Sequence[str]) -> None:
        """As `hold`."""

    def close(self) -> None:
        self._driver.close()


def _detected(state: ModuleState) -> Detected[KernelModule]:
    parameters = kinds_pb2.ModuleParameters(values=dict(state.parameters or {}))
    return Detected(
        KernelModule(module=state.name, parameters=parameters),
        pending=[f"parameters.values[{key}]" for key in state.pending],
    )
