"""Where systemd is not to be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from common.errors import ControlError, Unsupported
from common.manager import Emit
from services.system.models import UnitState, UnitWish


class NoSystemd:
    """SystemdDriver that says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def read(self, units: Sequence[str]) -> Mapping[str, UnitState | ControlError]:
        """See SystemdDriver."""
        return {unit: Unsupported(self._why) for unit in units}

    def write(self, unit: str, wish: UnitWish, report: Callable[[str], None]) -> str:
        """See SystemdDriver."""
        raise Unsupported(self._why)

    def chosen(self) -> Sequence[str]:
        """See SystemdDriver."""
        raise Unsupported(self._why)

    def failed(self) -> Sequence[str]:
        """See SystemdDriver."""
        raise Unsupported(self._why)

    def watch(self, emit: Emit) -> None:
        """Nothing will ever change."""

    def hold(self, keys: Sequence[str]) -> None:
        """Nothing will ever change."""

    def drop(self, keys: Sequence[str]) -> None:
        """Nothing will ever change."""

    def close(self) -> None:
        """Nothing to end."""
