"""The system service's drivers in memory: the same rules without a host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from common.errors import ControlError, WrongState
from common.manager import Emit
from services.system.models import (
    DEFAULT_MODE,
    MAX_CONTENT,
    FileState,
    FileType,
    FileWish,
    Identity,
    SysctlState,
    UnitState,
    UnitWish,
)


class MemoryFileDriver:
    """FileDriver over a dictionary. The user database knows root (0) and nobody (65534)."""

    _IDS: Mapping[str, int] = {"root": 0, "nobody": 65534}

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, FileState] = {"": self._new(FileType.DIRECTORY, 0o755, None, None)}
        self._held: set[str] = set()
        self._emit: Emit | None = None

    def read(self, paths: Sequence[str]) -> Mapping[str, FileState | ControlError | None]:
        """See FileDriver."""
        with self._lock:
            return {path: self._entries.get(path) for path in paths}

    def write(self, path: str, wish: FileWish) -> str:
        """See FileDriver."""
        for ids in (wish.owner, wish.group):
            if ids is not None and not ids.isdecimal() and ids not in self._IDS:
                raise WrongState(f"there is no account {ids}", next_step="create it first")
        with self._lock:
            self._make_folder(path.rpartition("/")[0])
            before = self._entries.get(path)
            if before is not None and before.type is FileType.SPECIAL:
                raise WrongState(f"{path} is a special file", next_step="remove it by hand")
            after = self._after(before, wish)
            if before == after:
                return ""
            if before is not None and before.type is FileType.DIRECTORY and wish.type is not before.type:
                self._check_empty(path)
            self._entries[path] = after
        self._tell(path)
        return f"created {path}" if before is None else f"changed {path}"

    def remove(self, path: str) -> bool:
        """See FileDriver."""
        with self._lock:
            before = self._entries.get(path)
            if before is None:
                return False
            if before.type is FileType.SPECIAL:
                raise WrongState(f"{path} is a special file", next_step="remove it by hand")
            self._check_empty(path)
            del self._entries[path]
        self._tell(path)
        return True

    def list(self, path: str) -> Sequence[str]:
        """See FileDriver."""
        with self._lock:
            below = [other.rpartition("/") for other in self._entries if other]
            return sorted(name for folder, _, name in below if folder == path)

    def owner_name(self, owner: str) -> str:
        """See FileDriver."""
        names = {str(number): name for name, number in self._IDS.items()}
        return names.get(owner, owner)

    def group_name(self, group: str) -> str:
        """See FileDriver."""
        return self.owner_name(group)

    def watch(self, emit: Emit) -> None:
        """See FileDriver."""
        self._emit = emit

    def hold(self, keys: Sequence[str]) -> None:
        """See FileDriver."""
        self._held.update(keys)

    def drop(self, keys: Sequence[str]) -> None:
        """See FileDriver."""
        self._held.difference_update(keys)

    def close(self) -> None:
        """See FileDriver."""
        self._emit = None

    def _new(self, sort: FileType, mode: int, owner: str | None, group: str | None) -> FileState:
        user, members = self.owner_name(owner or "0"), self.owner_name(group or "0")
        return FileState(sort, mode, user, members, self._number(user), self._number(members))

    def _number(self, name: str) -> int:
        return self._IDS[name] if name in self._IDS else int(name)

    def _after(self, before: FileState | None, wish: FileWish) -> FileState:
        mode = 0o777 if wish.type is FileType.SYMLINK else DEFAULT_MODE.get(wish.type, 0)
        owner, group = wish.owner, wish.group
        if before is not None and before.type is wish.type:
            kept = before.mode if before.content == wish.content else before.mode & 0o1777
            mode = kept if wish.type is FileType.REGULAR else before.mode
            owner, group = owner or before.owner, group or before.group
        if wish.mode is not None and wish.type is not FileType.SYMLINK:
            mode = wish.mode
        state = self._new(wish.type, mode, owner, group)
        if wish.type is FileType.REGULAR:
            too_large = len(wish.content) > MAX_CONTENT
            return state._replace(content=None if too_large else wish.content)
        return state._replace(target=wish.target)

    def _make_folder(self, path: str) -> None:
        known = self._entries.get(path)
        if known is None:
            self._make_folder(path.rpartition("/")[0])
            self._entries[path] = self._new(FileType.DIRECTORY, 0o755, None, None)
        elif known.type is not FileType.DIRECTORY:
            raise WrongState(f"{path} is no folder", next_step="remove what is in the way")

    def _check_empty(self, path: str) -> None:
        if any(other.startswith(f"{path}/") for other in self._entries):
            raise WrongState(f"folder {path} is not empty", next_step="empty it by hand")

    def _tell(self, path: str) -> None:
        if self._emit is not None and path in self._held:
            self._emit((path,))


class MemorySysctlDriver:
    """SysctlDriver over a dictionary of what "the kernel" has; every value but the empty one is taken as it is."""

    def __init__(self, kernel: dict[str, str]) -> None:
        self.kernel = kernel
        self._kept: dict[str, tuple[str, str]] = {}

    def read(self, names: Sequence[str]) -> Mapping[str, SysctlState | ControlError | None]:
        """See SysctlDriver."""
        found: dict[str, SysctlState | ControlError | None] = {}
        for name in names:
            kept = self._kept.get(name)
            found[name] = None if kept is None else SysctlState(self.kernel[name], kept[1], kept[1])
        return found

    def write(self, name: str, value: str) -> bool:
        """See SysctlDriver."""
        if name not in self.kernel:
            raise WrongState(f"the kernel has no parameter {name}", next_step="check its name")
        before, _ = self._kept.get(name, (self.kernel[name], ""))
        if self._kept.get(name) == (before, value) and self.kernel[name] == value:
            return False
        self._kept[name] = (before, value)
        self.kernel[name] = value
        return True

    def remove(self, name: str) -> bool:
        """See SysctlDriver."""
        kept = self._kept.pop(name, None)
        if kept is None:
            return False
        if self.kernel[name] == kept[1]:
            self.kernel[name] = kept[0]
        return True

    def kept(self) -> Sequence[str]:
        """See SysctlDriver."""
        return sorted(self._kept)

    def live(self, names: Sequence[str]) -> Mapping[str, str]:
        """See SysctlDriver."""
        return {name: self.kernel[name] for name in names if name in self.kernel}


class MemorySystemdDriver:
    """SystemdDriver over a dictionary of the units that exist; `broken` ones fail to start."""

    def __init__(self, units: Mapping[str, UnitState], broken: Sequence[str] = ()) -> None:
        self._units, self._broken = dict(units), frozenset(broken)
        self._held: set[str] = set()
        self._emit: Emit | None = None

    def read(self, units: Sequence[str]) -> Mapping[str, UnitState | ControlError]:
        """See SystemdDriver."""
        return {unit: self._units.get(unit, UnitState(found=False)) for unit in units}

    def write(self, unit: str, wish: UnitWish, report: Callable[[str], None]) -> str:
        """See SystemdDriver."""
        before = self._units.get(unit, UnitState(found=False))
        if not before.found and (wish.enabled or wish.active):
            raise WrongState(f"systemd knows no unit {unit}", next_step="install what brings it")
        after = before._replace(
            found=before.found or bool(wish.masked),
            enabled=before.enabled if wish.enabled is None else wish.enabled,
            masked=before.masked if wish.masked is None else wish.masked,
            drop_ins=tuple(sorted(wish.drop_ins)),
        )
        self._put(unit, after)
        if wish.active is not None and wish.active != before.active:
            report(f"{'starting' if wish.active else 'stopping'} {unit}")
            if wish.active and unit in self._broken:
                self._put(unit, after._replace(failure=f"{unit} failed"))
                raise ControlError(
                    f"StartUnit of {unit} ended with 'failed'", next_step=f"see `journalctl -u {unit}`"
                )
            after = after._replace(active=wish.active, failure="")
            self._put(unit, after)
        return "" if after == before else f"{unit}: changed"

    def chosen(self) -> Sequence[str]:
        """See SystemdDriver."""
        return sorted(
            unit for unit, state in self._units.items() if state.enabled or state.masked or state.drop_ins
        )

    def failed(self) -> Sequence[str]:
        """See SystemdDriver."""
        return sorted(unit for unit, state in self._units.items() if state.failure)

    def watch(self, emit: Emit) -> None:
        """See SystemdDriver."""
        self._emit = emit

    def hold(self, keys: Sequence[str]) -> None:
        """See SystemdDriver."""
        self._held.update(keys)

    def drop(self, keys: Sequence[str]) -> None:
        """See SystemdDriver."""
        self._held.difference_update(keys)

    def close(self) -> None:
        """See SystemdDriver."""
        self._emit = None

    def _put(self, unit: str, state: UnitState) -> None:
        if self._units.get(unit, UnitState(found=False)) == state:
            return
        self._units[unit] = state
        if self._emit is not None and unit in self._held:
            self._emit((unit,))


class MemoryIdentityDriver:
    """IdentityDriver over one value."""

    def __init__(self, zones: Sequence[str]) -> None:
        self._identity = Identity()
        self._zones = frozenset(zones)
        self._emit: Callable[[], None] | None = None

    def read(self) -> Identity:
        """See IdentityDriver."""
        return self._identity

    def write(self, wish: Identity) -> str:
        """See IdentityDriver."""
        if wish.time_zone is not None and wish.time_zone not in self._zones:
            raise WrongState(f"there is no time zone {wish.time_zone}", next_step="check the name")
        before = self._identity
        after = Identity(*(old if new is None else new for old, new in zip(before, wish, strict=True)))
        self._identity = after
        if after == before:
            return ""
        if self._emit is not None:
            self._emit()
        return "changed"

    def watch(self, emit: Callable[[], None]) -> None:
        """See IdentityDriver."""
        self._emit = emit

    def close(self) -> None:
        """See IdentityDriver."""
        self._emit = None
