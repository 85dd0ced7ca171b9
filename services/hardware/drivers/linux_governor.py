"""Frequency policies in /sys/devices/system/cpu/cpufreq."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence

from common.errors import ControlError, Forbidden, InvalidRequest, WrongState
from services.hardware.drivers.record import Record
from services.hardware.drivers.tree import Tree
from services.hardware.models.states import GovernorState

FOLDER = "/sys/devices/system/cpu/cpufreq"
ALL = "all"


class LinuxGovernorDriver:
    """`record` keeps what was there before the first change, by policy of the owner's."""

    def __init__(self, tree: Tree, record: Record) -> None:
        self._tree = tree
        self._record = record

    def unsupported(self) -> str:
        """As the Protocol says."""
        if not self._policies(ALL):
            return "the kernel scales no processor's frequency here (common in virtual machines)"
        return ""

    def read(self, policies: Sequence[str]) -> Mapping[str, GovernorState | ControlError | None]:
        """As the Protocol says."""
        return {policy: self._state(policy) for policy in policies}

    def set(self, policy: str, governor: str, minimum_khz: int | None, maximum_khz: int | None) -> str:
        """As the Protocol says."""
        found = self._policies(policy)
        if not found:
            raise InvalidRequest(
                f"there is no {policy}", next_step=f"choose one of: {', '.join(self._policies(ALL))}"
            )
        for one in found:
            offered = (self._tree.text(f"{FOLDER}/{one}/scaling_available_governors") or "").split()
            if governor not in offered:
                raise InvalidRequest(
                    f"{one} has no governor {governor}", next_step=f"choose one of: {', '.join(offered)}"
                )
        self._remember(policy, found)
        changed = [one for one in found if self._write(one, governor, minimum_khz, maximum_khz)]
        return f"{governor} set for {', '.join(changed)}" if changed else ""

    def release(self, policy: str) -> bool:
        """As the Protocol says."""
        before = self._record.get(policy).get("before", {})
        for one, values in before.items():
            self._write(one, values["governor"], values["minimum"], values["maximum"])
        self._record.put(policy, {"released": True})
        return bool(before)

    def _policies(self, policy: str) -> list[str]:
        names = [name for name in self._tree.names(FOLDER) if name.startswith("policy")]
        return names if policy == ALL else [name for name in names if name == policy]

    def _state(self, policy: str) -> GovernorState | None:
        found = self._policies(policy)
        if not found or self._record.get(policy).get("released"):
            return None
        governors = sorted({self._tree.text(f"{FOLDER}/{one}/scaling_governor") or "" for one in found})
        return GovernorState(
            policy,
            ",".join(governors),
            min(self._tree.number(f"{FOLDER}/{one}/scaling_min_freq") or 0 for one in found) or None,
            max(self._tree.number(f"{FOLDER}/{one}/scaling_max_freq") or 0 for one in found) or None,
        )

    def _remember(self, policy: str, found: Sequence[str]) -> None:
        entry = self._record.get(policy)
        before = entry.get("before") or {
            one: {
                "governor": self._tree.text(f"{FOLDER}/{one}/scaling_governor"),
                "minimum": self._tree.number(f"{FOLDER}/{one}/scaling_min_freq"),
                "maximum": self._tree.number(f"{FOLDER}/{one}/scaling_max_freq"),
            }
            for one in found
        }
        self._record.put(policy, {"before": before})

    def _write(self, one: str, governor: str | None, minimum: int | None, maximum: int | None) -> bool:
        folder = f"{FOLDER}/{one}"
        steps: list[tuple[str, str | int | None]] = [
            ("scaling_governor", governor),
            ("scaling_min_freq", minimum),
            ("scaling_max_freq", maximum),
        ]
        # The kernel refuses a lowest clock above the highest one at any moment.
        if minimum is not None and minimum > (self._tree.number(f"{folder}/scaling_max_freq") or minimum):
            steps.reverse()
        changed = False
        for name, value in steps:
            if value is None or self._tree.text(f"{folder}/{name}") == str(value):
                continue
            try:
                self._tree.write(f"{folder}/{name}", str(value))
            except OSError as error:
                raise _refused(one, name, value, error) from error
            changed = True
        return changed


def _refused(one: str, name: str, value: str | int, error: OSError) -> ControlError:
    what = f"{one}: {name} can't be set to {value}: {error.strerror}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Forbidden(what, next_step="run the daemon as root")
    if error.errno == errno.EINVAL:
        return InvalidRequest(what, next_step="stay within cpuinfo_min_freq and cpuinfo_max_freq")
    return WrongState(what)
