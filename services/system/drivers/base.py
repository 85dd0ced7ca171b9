"""What the system service needs from a host, one Protocol a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from common.errors import ControlError
from common.manager import Emit
from services.system.models import FileState, FileWish


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
