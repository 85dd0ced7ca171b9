"""What the system service needs from a host, one Protocol a subject."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from common.errors import ControlError
from common.manager import Emit
from services.system.models import (
    Facts,
    FileState,
    FileWish,
    Identity,
    RebootState,
    SysctlState,
    UnitState,
    UnitWish,
    Vitals,
)


class FileDriver(Protocol):
    """Files under one root. Paths are absolute and canonical (`/etc/motd`), as seen from that root."""

    def read(self, paths: Sequence[str]) -> Mapping[str, FileState | ControlError | None]:
        """What lies at each path: None is nothing, an error concerns its path only. Never blocks."""

    def write(self, path: str, wish: FileWish) -> str:
        """Makes it so, in one atomic step where there is one; says what was done, empty: nothing to do.

        Missing parent folders are made. Raises WrongState (a folder that is not empty, a special file or a
        parent that is no folder is in the way; no such user), Forbidden (leaves the root; not allowed),
        HostUnavailable (disk full, input/output error), Conflict (somebody else was changing it).
        """

    def remove(self, path: str) -> bool:
        """Removes a file, a link or an empty folder; False where nothing was. Raises as `write` does."""

    def list(self, path: str) -> Sequence[str]:
        """Names in a folder, sorted; none where it is missing. Raises as `read` tells."""

    def owner_name(self, owner: str) -> str:
        """The user's name for a number the host knows; anything else unchanged."""

    def group_name(self, group: str) -> str:
        """The group's name for a number the host knows; anything else unchanged."""

    def watch(self, emit: Emit) -> None:
        """As common.manager.Watchable, for paths."""

    def hold(self, keys: Sequence[str]) -> None:
        """As common.manager.Watchable."""

    def drop(self, keys: Sequence[str]) -> None:
        """As common.manager.Watchable."""

    def close(self) -> None:
        """As common.manager.Watchable; harmless where `watch` was never called."""


class SysctlDriver(Protocol):
    """Kernel parameters, by sysctl(8)'s names with dots, and the record of those that are kept here."""

    def read(self, names: Sequence[str]) -> Mapping[str, SysctlState | ControlError | None]:
        """The parameters that are kept; None: not kept (even where the kernel has it)."""

    def write(self, name: str, value: str) -> bool:
        """Sets it now and for every start; False where it was so. Raises WrongState (the kernel has no such
        parameter, or makes another value of it), InvalidRequest (the kernel refuses the value), Forbidden.
        """

    def remove(self, name: str) -> bool:
        """Keeps it no longer and puts back what it was before; False where it was not kept."""

    def kept(self) -> Sequence[str]:
        """Names of all that are kept."""

    def live(self, names: Sequence[str]) -> Mapping[str, str]:
        """What the kernel has now, of those that can be read."""


class SystemdDriver(Protocol):
    """Units of systemd."""

    def read(self, units: Sequence[str]) -> Mapping[str, UnitState | ControlError]:
        """How the units are; those that systemd doesn't know are told as not found."""

    def write(self, unit: str, wish: UnitWish, report: Callable[[str], None]) -> str:
        """Makes it so and waits for systemd's jobs; says what was done, empty: nothing to do.

        Raises WrongState (no such unit, it can't be enabled, it failed to start), HostUnavailable (systemd does
        not answer, or a job takes too long).
        """

    def chosen(self) -> Sequence[str]:
        """Units that somebody enabled or masked, or that have drop-ins of ours."""

    def failed(self) -> Sequence[str]:
        """Names of the units that failed."""

    def watch(self, emit: Emit) -> None:
        """As common.manager.Watchable, for unit names."""

    def hold(self, keys: Sequence[str]) -> None:
        """As common.manager.Watchable."""

    def drop(self, keys: Sequence[str]) -> None:
        """As common.manager.Watchable."""

    def close(self) -> None:
        """Ends the connection; harmless where there was none."""


class IdentityDriver(Protocol):
    """The host's name, time zone and language."""

    def read(self) -> Identity:
        """What they are; None: not set."""

    def write(self, wish: Identity) -> str:
        """Sets those that are not None; says what was done, empty: nothing to do.

        Raises WrongState (the host knows no such time zone), Forbidden.
        """

    def watch(self, emit: Callable[[], None]) -> None:
        """Tells when something may have changed."""

    def close(self) -> None:
        """Ends the telling; harmless where `watch` was never called."""


class HostDriver(Protocol):
    """Facts and vital signs."""

    def facts(self) -> Facts:
        """What the host is."""

    def vitals(self) -> Vitals:
        """How it is doing now."""

    def reboot_state(self) -> RebootState:
        """What tells whether it should be restarted."""
