"""Units of this machine's systemd, over D-Bus; drop-ins as files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence

from dbus_fast import Message, Variant

from common.errors import ControlError, WrongState
from common.manager import Emit
from services.system.drivers.base import FileDriver
from services.system.drivers.systemd_bus import MANAGER, PROPERTIES, UNIT, SystemdBus
from services.system.models import FileState, FileType, FileWish, UnitState, UnitWish

FOLDER = "/etc/systemd/system"
# Where NixOS keeps /etc/systemd/system read-only; gone at the next start, when the generation has taken over.
NIXOS_FOLDER = "/run/systemd/system"

_PREFIX, _SUFFIX = "nixcc-", ".conf"
_ACTIVE = ("active", "reloading", "activating", "refreshing")
_ENABLED = ("enabled", "enabled-runtime", "alias", "generated")
# Of those, what somebody decided; and what was masked.
_CHOSEN = ("enabled", "enabled-runtime", "masked", "masked-runtime")
_UNREAD = "# systemd has not read this yet\n"
_JOB_SECONDS = 120.0
# Signals of the manager that concern no unit by name: files or links changed.
_ANY_UNIT = ("UnitFilesChanged", "Reloading")


class LinuxSystemdDriver:
    """SystemdDriver over the bus at `address` (None: the system's)."""

    def __init__(self, files: FileDriver, *, address: str | None = None, folder: str = FOLDER) -> None:
        self._files, self._folder = files, folder
        self._runtime = folder.startswith("/run/")
        self._bus = SystemdBus(address, on_signal=self._heard, on_reconnect=self._reconnected)
        self._held: set[str] = set()
        self._emit: Emit | None = None

    def read(self, units: Sequence[str]) -> Mapping[str, UnitState | ControlError]:
        """See SystemdDriver."""
        if not units:
            return {}
        drop_ins = {unit: self._drop_ins(unit) for unit in units}
        return self._bus.run(self._read(drop_ins))

    def write(self, unit: str, wish: UnitWish, report: Callable[[str], None]) -> str:
        """See SystemdDriver."""
        before = self.read([unit])[unit]
        if isinstance(before, ControlError):
            raise before
        if not before.found and (wish.enabled or wish.active):
            raise WrongState(
                f"systemd knows no unit {unit}",
                next_step="install what brings it, or declare its file with a File",
            )
        done: list[str] = []
        if changed := before.drop_ins != wish.drop_ins:
            self._write_drop_ins(unit, wish.drop_ins)
            self._bus.run(self._bus.call("Reload"))
            done.append("changed its drop-ins")
        done += self._bus.run(self._write_links(unit, before, wish))
        started = before.active
        if wish.active is not None and wish.active != before.active:
            report(f"{'starting' if wish.active else 'stopping'} {unit}")
            self._job("StartUnit" if wish.active else "StopUnit", unit)
            done.append("started it" if wish.active else "stopped it")
        elif started and changed and wish.restart_on_change:
            report(f"restarting {unit}")
            self._job("TryRestartUnit", unit)
            done.append("restarted it")
        return f"{unit}: {', '.join(done)}" if done else ""

    def chosen(self) -> Sequence[str]:
        """See SystemdDriver."""
        rows = self._bus.run(self._bus.call("ListUnitFiles"))[0]
        # `getty@.service` stands for many units, and is none itself.
        found = {path.rpartition("/")[2] for path, state in rows if state in _CHOSEN and "@." not in path}
        for folder in self._files.list(self._folder):
            if folder.endswith(".d") and self._paths(folder.removesuffix(".d")):
                found.add(folder.removesuffix(".d"))
        return sorted(found)

    def failed(self) -> Sequence[str]:
        """See SystemdDriver."""
        rows = self._bus.run(self._bus.call("ListUnitsFiltered", "as", ["failed"]))[0]
        return sorted(row[0] for row in rows)

    def watch(self, emit: Emit) -> None:
        """See SystemdDriver."""
        self._emit = emit
        self._files.watch(self._files_changed)
        self._bus.listen()

    def hold(self, keys: Sequence[str]) -> None:
        """See SystemdDriver."""
        self._held.update(keys)
        self._files.hold([path for unit in keys for path in self._paths(unit)])

    def drop(self, keys: Sequence[str]) -> None:
        """See SystemdDriver."""
        self._held.difference_update(keys)
        self._files.drop([path for unit in keys for path in self._paths(unit)])

    def close(self) -> None:
        """See SystemdDriver."""
        self._emit = None
        self._files.close()
        self._bus.close()

    async def _read(
        self, drop_ins: Mapping[str, tuple[tuple[str, str], ...]]
    ) -> Mapping[str, UnitState | ControlError]:
        units = list(drop_ins)
        rows = (await self._bus.call("ListUnitsByNames", "as", units))[0]
        states = zip(units, rows, strict=True)
        found = await asyncio.gather(
            *(self._unit(unit, row, drop_ins[unit]) for unit, row in states), return_exceptions=True
        )
        result: dict[str, UnitState | ControlError] = {}
        for unit, state in zip(units, found, strict=True):
            if isinstance(state, BaseException) and not isinstance(state, ControlError):
                raise state
            result[unit] = state
        return result

    async def _unit(self, unit: str, row: Sequence[str], drop_ins: tuple[tuple[str, str], ...]) -> UnitState:
        _, _, load, active, sub, _, path = row[:7]
        try:
            file_state = str((await self._bus.call("GetUnitFileState", "s", unit))[0])
        except WrongState:
            file_state = ""  # no file: made by a generator, a device, or not there at all
        if drop_ins and await self._stale(path, unit, drop_ins):
            # Like neither what is wanted nor nothing.
            drop_ins = tuple((name, _UNREAD + content) for name, content in drop_ins)
        masked = load == "masked" or file_state.startswith("masked")
        return UnitState(
            found=load != "not-found" or masked,
            enabled=file_state in _ENABLED,
            active=active in _ACTIVE,
            masked=masked,
            drop_ins=drop_ins,
            failure=f"{unit} failed ({sub}); see `journalctl -u {unit}`" if active == "failed" else "",
        )

    async def _stale(self, path: str, unit: str, drop_ins: tuple[tuple[str, str], ...]) -> bool:
        """Whether systemd has not read our drop-ins as they are now (a killed run wrote them and never told it)."""

        async def get(name: str) -> object:
            value = (await self._bus.call("Get", "ss", UNIT, name, path=path, interface=PROPERTIES))[0]
            return value.value if isinstance(value, Variant) else value

        loaded, reload = await get("DropInPaths"), await get("NeedDaemonReload")
        known = {str(entry).rpartition("/")[2] for entry in loaded} if isinstance(loaded, list) else set()
        return bool(reload) or not known.issuperset(_file_name(name) for name, _ in drop_ins)

    async def _write_links(self, unit: str, before: UnitState, wish: UnitWish) -> list[str]:
        done = []
        if wish.masked is not None and wish.masked != before.masked:
            if wish.masked:
                await self._bus.call("MaskUnitFiles", "asbb", [unit], self._runtime, True)
            else:
                await self._bus.call("UnmaskUnitFiles", "asb", [unit], self._runtime)
            done.append("masked it" if wish.masked else "unmasked it")
        if wish.enabled is not None and wish.enabled != before.enabled:
            if wish.enabled:
                carries = (await self._bus.call("EnableUnitFiles", "asbb", [unit], self._runtime, False))[0]
                if not carries:
                    raise WrongState(
                        f"{unit} can't be enabled: its file has no [Install] section",
                        next_step="enable what needs it, or leave `enabled` out",
                    )
            else:
                await self._bus.call("DisableUnitFiles", "asb", [unit], False)
                await self._bus.call("DisableUnitFiles", "asb", [unit], True)
            done.append("enabled it" if wish.enabled else "disabled it")
        if done:
            await self._bus.call("Reload")
        return done

    def _job(self, member: str, unit: str) -> None:
        result = self._bus.run(self._bus.job(member, unit, _JOB_SECONDS), _JOB_SECONDS + 30)
        if result not in ("done", "skipped"):
            raise ControlError(
                f"{member} of {unit} ended with {result!r}", next_step=f"see `journalctl -u {unit}`"
            )

    def _drop_ins(self, unit: str) -> tuple[tuple[str, str], ...]:
        paths = self._paths(unit)
        found = []
        for path, state in self._files.read(paths).items():
            if isinstance(state, ControlError):
                raise state
            if isinstance(state, FileState) and state.content is not None:
                name = path.rpartition("/")[2].removeprefix(_PREFIX).removesuffix(_SUFFIX)
                found.append((name, state.content.decode(errors="replace")))
        return tuple(found)

    def _paths(self, unit: str) -> list[str]:
        folder = f"{self._folder}/{unit}.d"
        names = self._files.list(folder)
        return [f"{folder}/{name}" for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]

    def _write_drop_ins(self, unit: str, drop_ins: Sequence[tuple[str, str]]) -> None:
        folder = f"{self._folder}/{unit}.d"
        wanted = {f"{folder}/{_file_name(name)}": content for name, content in drop_ins}
        for path in self._paths(unit):
            if path not in wanted:
                self._files.remove(path)
        for path, content in wanted.items():
            self._files.write(path, FileWish(FileType.REGULAR, content.encode(), mode=0o644))
        if not wanted and not self._files.list(folder):
            self._files.remove(folder)
        if unit in self._held:
            self._files.hold(list(wanted))

    def _files_changed(self, paths: Sequence[str]) -> None:
        units = {path.split("/")[-2].removesuffix(".d") for path in paths}
        if self._emit is not None and (not paths or units):
            self._emit(tuple(units))

    def _heard(self, message: Message) -> None:
        if self._emit is None:
            return
        if message.interface == PROPERTIES:
            unit = unescape(message.path.rpartition("/")[2]) if message.path else ""
        elif message.interface == MANAGER and message.member in _ANY_UNIT:
            if held := tuple(self._held):
                self._emit(held)
            return
        elif message.interface == MANAGER and message.member == "JobRemoved":
            unit = message.body[2]
        elif message.interface == MANAGER and message.member in ("UnitNew", "UnitRemoved"):
            unit = message.body[0]
        else:
            return
        if unit in self._held:
            self._emit((unit,))

    def _reconnected(self) -> None:
        if self._emit is not None:
            self._emit(())


def unescape(label: str) -> str:
    """The unit's name in an object path: `sshd_2eservice` is `sshd.service`."""
    if label == "_":
        return ""
    return re.sub(r"_([0-9a-f]{2})", lambda match: chr(int(match.group(1), 16)), label)


def _file_name(name: str) -> str:
    return f"{_PREFIX}{name}{_SUFFIX}"
