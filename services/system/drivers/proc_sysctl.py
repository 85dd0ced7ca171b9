"""Kernel parameters through /proc/sys, kept over restarts by a file in sysctl.d(5)."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import ControlError, Forbidden, HostUnavailable, InvalidRequest, Unsupported, WrongState
from common.failpoints import hit
from services.system.drivers.base import FileDriver
from services.system.models import FileState, FileType, FileWish, SysctlState, folded

# After 99-sysctl.conf, the old /etc/sysctl.conf. On NixOS /etc/sysctl.d is read-only and the generation makes it
# last; there the file is only our record.
RECORD = "/etc/sysctl.d/99-zz-nixcc.conf"
NIXOS_RECORD = "/run/sysctl.d/99-zz-nixcc.conf"

_HEAD = "# Written by nixcc. The comments tell what each value was before.\n"
_MARK = "#nixcc "


class _Entry(NamedTuple):
    before: str
    applied: str
    stored: str


class ProcSysctlDriver:
    """SysctlDriver on this machine."""

    def __init__(self, files: FileDriver, *, proc: Path = Path("/proc/sys"), record: str = RECORD) -> None:
        self._files, self._proc, self._record = files, proc, record
        self._lock = threading.Lock()

    def read(self, names: Sequence[str]) -> Mapping[str, SysctlState | ControlError | None]:
        """See SysctlDriver."""
        entries = self._entries()
        found: dict[str, SysctlState | ControlError | None] = {}
        for name in names:
            entry = entries.get(name)
            if entry is None:
                found[name] = None
                continue
            try:
                found[name] = SysctlState(self._get(name), entry.stored, entry.applied)
            except ControlError as error:
                found[name] = error
        return found

    def write(self, name: str, value: str) -> bool:
        """See SysctlDriver."""
        with self._lock:
            entries = self._entries()
            live, known = self._get(name), entries.get(name)
            wanted = _Entry(live if known is None else known.before, value, value)
            if known == wanted and live == value:
                return False
            self._save({**entries, name: wanted})
            hit("sysctl.after_record")
            try:
                if live != value:
                    self._set(name, value)
            except ControlError:
                self._save(entries)
                raise
        return True

    def remove(self, name: str) -> bool:
        """See SysctlDriver."""
        with self._lock:
            entries = dict(self._entries())
            entry = entries.pop(name, None)
            if entry is None:
                return False
            try:
                if self._get(name) == entry.applied:
                    self._set(name, entry.before)
            except WrongState:
                pass  # the parameter went with its module
            self._save(entries)
        return True

    def kept(self) -> Sequence[str]:
        """See SysctlDriver."""
        return sorted(self._entries())

    def live(self, names: Sequence[str]) -> Mapping[str, str]:
        """See SysctlDriver."""
        values = {}
        for name in names:
            try:
                values[name] = self._get(name)
            except ControlError:
                continue
        return values

    def _get(self, name: str) -> str:
        try:
            return folded((self._proc / _path(name)).read_text(errors="replace"))
        except OSError as error:
            raise _explain(error, name) from error

    def _set(self, name: str, value: str) -> None:
        try:
            descriptor = os.open(self._proc / _path(name), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(descriptor, f"{value}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _explain(error, name) from error
        if (now := self._get(name)) != value:
            raise WrongState(
                f"the kernel made {now!r} of {name} = {value!r}",
                next_step=f"declare {now!r}, or a value it keeps",
            )

    def _entries(self) -> dict[str, _Entry]:
        state = self._files.read([self._record])[self._record]
        if isinstance(state, ControlError):
            raise state
        if not isinstance(state, FileState) or state.content is None:
            return {}
        notes: dict[str, dict[str, str]] = {}
        lines: dict[str, str] = {}
        for line in state.content.decode(errors="replace").splitlines():
            if line.startswith(_MARK):
                note = _note(line.removeprefix(_MARK))
                notes.update({note["name"]: note} if note else {})
            elif line[:1] not in ("#", ";", "") and "=" in line:
                name, _, value = line.partition("=")
                lines[name.strip()] = folded(value)
        return {
            name: _Entry(note["before"], note["applied"], lines.get(name, "")) for name, note in notes.items()
        }

    def _save(self, entries: Mapping[str, _Entry]) -> None:
        if not entries:
            self._files.remove(self._record)
            return
        text = _HEAD
        for name, entry in sorted(entries.items()):
            note = {"name": name, "before": entry.before, "applied": entry.applied}
            text += f"{_MARK}{json.dumps(note)}\n{name} = {entry.stored}\n"
        self._files.write(self._record, FileWish(FileType.REGULAR, text.encode(), mode=0o644))


def _path(name: str) -> str:
    return name.translate(str.maketrans("./", "/."))


def _note(text: str) -> dict[str, str] | None:
    try:
        note = json.loads(text)
        return {key: str(note[key]) for key in ("name", "before", "applied")}
    except (ValueError, KeyError, TypeError):
        return None  # edited by hand: as if it had never been kept


def _explain(error: OSError, name: str) -> ControlError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return WrongState(
            f"the kernel has no parameter {name}",
            next_step="check its name, or load the module it belongs to",
        )
    if error.errno in (errno.EINVAL, errno.ERANGE):
        return InvalidRequest(f"the kernel refuses the value of {name}: {error.strerror}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        if os.geteuid() == 0 and error.errno == errno.EACCES:
            return Unsupported(f"{name} can't be read or written: it is an action, not a value")
        return Forbidden(f"{name}: {error.strerror}", next_step="run the system service as root on the host")
    return HostUnavailable(f"{name}: {error.strerror}")
