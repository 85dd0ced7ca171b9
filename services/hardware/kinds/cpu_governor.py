"""Kind CpuGovernor: protobuf <-> states, what the field rules can't say, and NixOS options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import ControlError, InvalidRequest, Violation
from common.manager import Action, Applied, Change, Detected, JsonValue, Report
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.base import GovernorDriver
from services.hardware.models.states import GovernorState

CpuGovernor = kinds_pb2.CpuGovernor


class CpuGovernorKind:
    """Frequency policies; `confined`: why there can be none, empty: there can. The kernel tells of no changes."""

    spec = CpuGovernor

    def __init__(self, driver: GovernorDriver, confined: str = "") -> None:
        self._driver = driver
        self._confined = confined

    def unsupported(self) -> str:
        return self._confined or self._driver.unsupported()

    def validate(self, name: str, spec: CpuGovernor) -> Sequence[Violation]:
        both = spec.HasField("minimum_khz") and spec.HasField("maximum_khz")
        if both and spec.minimum_khz > spec.maximum_khz:
            return [Violation("minimum_khz", "must not be above maximum_khz")]
        return []

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[CpuGovernor] | ControlError | None]:
        return {
            policy: Detected(_spec(state)) if isinstance(state, GovernorState) else state
            for policy, state in self._driver.read(keys).items()
        }

    def apply(self, change: Change[CpuGovernor], report: Report) -> Applied:
        policy, desired = change.key, change.desired
        if change.action is Action.DELETE or desired is None:
            back = self._driver.release(policy)
            return Applied("put back what was there before" if back else "left as it is", changed=back)
        done = self._driver.set(
            policy,
            desired.governor,
            desired.minimum_khz if desired.HasField("minimum_khz") else None,
            desired.maximum_khz if desired.HasField("maximum_khz") else None,
        )
        return Applied(done or f"{policy} was so already", changed=bool(done))

    def render(self, name: str, spec: CpuGovernor) -> Mapping[str, JsonValue]:
        if spec.policy != "all":
            raise InvalidRequest(
                "NixOS sets all policies alike", [Violation("policy", "must be `all` to be made permanent")]
            )
        options: dict[str, JsonValue] = {"cpuFreqGovernor": spec.governor}
        limits: dict[str, JsonValue] = {}
        if spec.HasField("minimum_khz"):
            limits["min"] = spec.minimum_khz
        if spec.HasField("maximum_khz"):
            limits["max"] = spec.maximum_khz
        if limits:
            options["cpufreq"] = limits
        return {"powerManagement": options}


def _spec(state: GovernorState) -> CpuGovernor:
    return CpuGovernor(
        policy=state.policy,
        governor=state.governor,
        minimum_khz=state.minimum_khz,
        maximum_khz=state.maximum_khz,
    )
