"""Kind Swap: protobuf <-> states, what the field rules can't say, and NixOS options."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from common.errors import ControlError, InvalidRequest, Violation
from common.manager import Action, Applied, Change, Detected, Emit, JsonValue, Report
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.base import SwapDriver
from services.hardware.kinds.paths import is_tagged, nixos_device, wrong_path
from services.hardware.models.states import SwapState, SwapType, SwapWish

Swap = kinds_pb2.Swap

_ZRAM = re.compile(r"/dev/zram[0-9]{1,3}")
_PAGE = 4096
_MEBIBYTE = 1 << 20
# Above it `memoryMax` alone decides how large NixOS makes zram.
_ALL_MEMORY = 1000


class SwapKind:
    """Swap of the host; `confined`: why there can be none, empty: there can."""

    spec = Swap

    def __init__(self, driver: SwapDriver, confined: str = "") -> None:
        self._driver = driver
        self._confined = confined

    def unsupported(self) -> str:
        return self._confined or self._driver.unsupported()

    def validate(self, name: str, spec: Swap) -> Sequence[Violation]:
        return list(_violations(spec))

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[Swap] | ControlError | None]:
        return {
            path: Detected(_spec(state)) if isinstance(state, SwapState) else state
            for path, state in self._driver.read(keys).items()
        }

    def apply(self, change: Change[Swap], report: Report) -> Applied:
        path, desired = change.key, change.desired
        if change.action is Action.DELETE or desired is None:
            gone = self._driver.remove(path)
            return Applied(f"removed {path}" if gone else f"{path} was gone already", changed=gone)
        wish = SwapWish(
            path=path,
            type=swap_type(path),
            size=desired.size if desired.HasField("size") else None,
            priority=desired.priority if desired.HasField("priority") else None,
            algorithm=desired.algorithm or None,
            active=desired.active,
        )
        done = self._driver.set_up(wish, report)
        return Applied(f"{path}: {done}" if done else f"{path} was so already", changed=bool(done))

    def enumerate(self) -> Sequence[str]:
        return [] if self.unsupported() else self._driver.present()

    def render(self, name: str, spec: Swap) -> Mapping[str, JsonValue]:
        kind = swap_type(spec.path)
        if not spec.active:
            raise InvalidRequest(
                "NixOS can't keep swap switched off",
                [Violation("active", "must be true on NixOS, or no such resource")],
            )
        if kind is SwapType.ZRAM:
            return {"zramSwap": _zram(spec)}
        value: dict[str, JsonValue] = {"device": nixos_device(spec.path)}
        if kind is SwapType.FILE:
            if spec.size % _MEBIBYTE:
                raise InvalidRequest(
                    "NixOS counts swap files in MiB",
                    [Violation("size", "must be a multiple of 1 MiB on NixOS")],
                )
            value["size"] = spec.size // _MEBIBYTE
        if spec.HasField("priority"):
            value["priority"] = spec.priority
        return {"swapDevices": [value]}

    def watch(self, emit: Emit) -> None:
        if not self.unsupported():
            self._driver.watch(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """The kernel tells of all swap together."""

    def drop(self, keys: Sequence[str]) -> None:
        """As `hold`."""

    def close(self) -> None:
        self._driver.close()


def swap_type(path: str) -> SwapType:
    """What a path stands for."""
    if _ZRAM.fullmatch(path):
        return SwapType.ZRAM
    return SwapType.PARTITION if path.startswith("/dev/") or is_tagged(path) else SwapType.FILE


def _violations(spec: Swap) -> Iterator[Violation]:
    kind = swap_type(spec.path)
    if not is_tagged(spec.path):
        for text in wrong_path(spec.path):
            yield Violation("path", text)
    if kind is SwapType.PARTITION and spec.HasField("size"):
        yield Violation("size", "a partition has its own size: leave it out")
    if kind is not SwapType.PARTITION and not spec.HasField("size"):
        yield Violation("size", f"must be set for a {kind} swap")
    if spec.size % _PAGE:
        yield Violation("size", "must be a multiple of 4 KiB")
    if kind is not SwapType.ZRAM and spec.HasField("algorithm"):
        yield Violation("algorithm", "only /dev/zram* is compressed")
    if kind is not SwapType.FILE and not spec.active:
        yield Violation("active", "only a file can be kept switched off")


def _spec(state: SwapState) -> Swap:
    spec = Swap(path=state.path, active=state.active)
    if state.type is not SwapType.PARTITION:
        spec.size = state.size
    if state.priority is not None:
        spec.priority = state.priority
    if state.algorithm is not None:
        spec.algorithm = state.algorithm
    return spec


def _zram(spec: Swap) -> dict[str, JsonValue]:
    if spec.path != "/dev/zram0":
        raise InvalidRequest(
            "NixOS manages one zram device", [Violation("path", "must be /dev/zram0 to be made permanent")]
        )
    options: dict[str, JsonValue] = {
        "enable": True,
        "memoryMax": spec.size,
        "memoryPercent": _ALL_MEMORY,
        "swapDevices": 1,
    }
    if spec.algorithm:
        options["algorithm"] = spec.algorithm
    if spec.HasField("priority"):
        options["priority"] = spec.priority
    return options
