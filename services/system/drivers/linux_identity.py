"""The host's name, time zone and language: hostname(5), localtime(5), locale.conf(5), and the live name."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence

from common.errors import ControlError, Forbidden, WrongState
from services.system.drivers.base import FileDriver
from services.system.drivers.polling import SECONDS, Polling
from services.system.models import FileState, FileType, FileWish, Identity

HOSTNAME = "/etc/hostname"
LOCALTIME = "/etc/localtime"
TIMEZONE = "/etc/timezone"  # Debian's copy of the name
LOCALES = ("/etc/locale.conf", "/etc/default/locale")
ZONES = ("/usr/share/zoneinfo", "/etc/zoneinfo")  # the second one on NixOS

_WATCHED = (HOSTNAME, LOCALTIME, *LOCALES)
_LANG = re.compile(r"^[ \t]*LANG=(.*)$", re.MULTILINE)


class LinuxIdentityDriver:
    """IdentityDriver on files; with `live`, on the running kernel's name too."""

    def __init__(self, files: FileDriver, *, live: bool, seconds: float = SECONDS) -> None:
        self._files, self._live, self._seconds = files, live, seconds
        self._polling: Polling | None = None

    def read(self) -> Identity:
        """See IdentityDriver."""
        states = self._states(_WATCHED)
        return Identity(self._hostname(states[HOSTNAME]), _zone(states[LOCALTIME]), _locale(states))

    def write(self, wish: Identity) -> str:
        """See IdentityDriver."""
        states = self._states(_WATCHED)
        done = []
        if wish.hostname is not None:
            done += self._write_hostname(wish.hostname)
        if wish.time_zone is not None and _zone(states[LOCALTIME]) != wish.time_zone:
            done += self._write_zone(wish.time_zone)
        if wish.locale is not None and _locale(states) != wish.locale:
            done += self._write_locale(wish.locale, states)
        return ", ".join(done)

    def watch(self, emit: Callable[[], None]) -> None:
        """See IdentityDriver."""

        def told(keys: Sequence[str]) -> None:
            emit()

        self._files.watch(told)
        self._files.hold(_WATCHED)
        if self._live:
            self._polling = Polling(lambda keys: {"name": socket.gethostname()}, told, self._seconds)
            self._polling.hold(["name"])

    def close(self) -> None:
        """See IdentityDriver."""
        self._files.close()
        if self._polling is not None:
            self._polling.close()
            self._polling = None

    def _states(self, paths: Sequence[str]) -> Mapping[str, FileState | None]:
        states: dict[str, FileState | None] = {}
        for path, state in self._files.read(paths).items():
            if isinstance(state, ControlError):
                raise state
            states[path] = state
        return states

    def _hostname(self, state: FileState | None) -> str | None:
        stored = next((line for line in _text(state).split("\n") if line and line[0] != "#"), "").strip()
        live = socket.gethostname() if self._live else stored
        if live and stored and live != stored:
            return f"{stored} (now {live})"  # equal to neither: both are set
        return stored or None

    def _write_hostname(self, hostname: str) -> list[str]:
        done = []
        if self._files.write(HOSTNAME, FileWish(FileType.REGULAR, f"{hostname}\n".encode())):
            done.append(f"wrote the name {hostname}")
        if self._live and socket.gethostname() != hostname:
            try:
                socket.sethostname(hostname)
            except PermissionError as error:
                raise Forbidden(
                    "the running host's name can't be set", next_step="run the system service as root"
                ) from error
            done.append(f"set the name {hostname}")
        return done

    def _write_zone(self, zone: str) -> list[str]:
        present = self._files.read([*ZONES, *(f"{folder}/{zone}" for folder in ZONES)])
        folders = [folder for folder in ZONES if isinstance(present[folder], FileState)]
        known = [folder for folder in folders if isinstance(present[f"{folder}/{zone}"], FileState)]
        if folders and not known:
            raise WrongState(
                f"{folders[0]} has no time zone {zone}",
                next_step="check the name, or install the time zone data",
            )
        folder = (known or ZONES)[0]
        self._files.write(LOCALTIME, FileWish(FileType.SYMLINK, target=f"{folder}/{zone}"))
        if self._states([TIMEZONE])[TIMEZONE] is not None:
            self._files.write(TIMEZONE, FileWish(FileType.REGULAR, f"{zone}\n".encode()))
        return [f"set the time zone {zone}"]

    def _write_locale(self, locale: str, states: Mapping[str, FileState | None]) -> list[str]:
        path = _locale_path(states)
        rest = _LANG.sub("", _text(states[path])).strip("\n")
        text = f"LANG={locale}\n" + (f"{rest}\n" if rest else "")
        self._files.write(path, FileWish(FileType.REGULAR, text.encode()))
        return [f"set the language {locale}"]


def _text(state: FileState | None) -> str:
    if state is None or state.content is None:
        return ""
    return state.content.decode(errors="replace")


def _zone(state: FileState | None) -> str | None:
    """From the link's target; a copied zone file has no name."""
    if state is None or state.type is not FileType.SYMLINK:
        return None
    _, found, zone = state.target.partition("zoneinfo/")
    return zone if found else None


def _locale_path(states: Mapping[str, FileState | None]) -> str:
    """Debian's locale.conf may be a link to its own file."""
    for path in LOCALES:
        state = states[path]
        if state is not None and state.type is FileType.REGULAR:
            return path
    return LOCALES[0]


def _locale(states: Mapping[str, FileState | None]) -> str | None:
    match = _LANG.search(_text(states[_locale_path(states)]))
    return match.group(1).strip().strip("'\"") or None if match else None
