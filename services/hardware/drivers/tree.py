"""sysfs, procfs, /run and /dev below a folder: the host's own, or a recorded one."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from services.hardware.models.inventory import Absence

# Attributes of sysfs are at most a page; tables and cpuinfo of large machines are larger.
_CHUNK = 1 << 16


class Tree:
    """Reads facts by the paths the host knows (`/sys/class/net`); what can't be read is None or empty."""

    def __init__(self, root: Path = Path("/")) -> None:
        # Facts that need a system call instead of a file can be had of the running host only.
        self.live = root == Path("/")
        self._prefix = "" if self.live else str(root.resolve())

    def at(self, path: str) -> str:
        """The path to open."""
        return self._prefix + path

    def data(self, path: str, limit: int = 1 << 24) -> bytes | None:
        """Up to `limit` bytes of a file."""
        try:
            descriptor = os.open(self._prefix + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            return None
        try:
            parts = []
            size = 0
            # procfs gives less than asked for before its end is reached.
            while size < limit and (found := os.read(descriptor, min(limit - size, _CHUNK))):
                parts.append(found)
                size += len(found)
            return b"".join(parts)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    @contextmanager
    def opened(self, path: str) -> Iterator[Callable[[int, int], bytes]]:
        """Reads parts of a file: offset and size in, up to so many bytes out; nothing where it can't be read."""
        try:
            descriptor = os.open(self._prefix + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            yield lambda offset, size: b""
            return

        def read(offset: int, size: int) -> bytes:
            try:
                return os.pread(descriptor, size, offset)
            except OSError:
                return b""

        try:
            yield read
        finally:
            os.close(descriptor)

    def text(self, path: str) -> str | None:
        """A file's text without white space around it; None also where it is empty."""
        found = self.data(path)
        if not found:
            return None
        return found.decode(errors="replace").strip("\0 \t\r\n") or None

    def number(self, path: str, base: int = 10) -> int | None:
        """The number a file holds."""
        found = self.text(path)
        if found is None:
            return None
        try:
            return int(found, base)
        except ValueError:
            return None

    def flag(self, path: str) -> bool | None:
        """A file that holds 0 or 1 (or Y and N)."""
        found = self.text(path)
        return None if found is None else found in ("1", "Y", "y", "yes", "on")

    def names(self, path: str) -> list[str]:
        """What lies in a folder, sorted."""
        try:
            return sorted(os.listdir(self._prefix + path))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        return os.path.exists(self._prefix + path)

    def is_folder(self, path: str) -> bool:
        """Whether a folder is there itself, not a link to one."""
        try:
            return stat.S_ISDIR(os.lstat(self._prefix + path).st_mode)
        except OSError:
            return False

    def link(self, path: str) -> str | None:
        """The last part of a symbolic link's target: sysfs names drivers and subsystems so."""
        try:
            return os.path.basename(os.readlink(self._prefix + path))
        except OSError:
            return None

    def real(self, path: str) -> str:
        """The path with all links followed, as the host knows it."""
        return os.path.realpath(self._prefix + path).removeprefix(self._prefix)

    def writable(self, path: str) -> bool:
        """Whether anybody may write the file: root may always, but sysfs tells by its mode what can be changed."""
        try:
            return bool(os.stat(self._prefix + path).st_mode & 0o222)
        except OSError:
            return False

    def write(self, path: str, text: str) -> None:
        """Writes an attribute that is there, in one go. Raises OSError with the kernel's reason."""
        if not self.writable(path) and self.exists(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        descriptor = os.open(
            self._prefix + path, os.O_WRONLY | os.O_CLOEXEC | (0 if self.live else os.O_TRUNC)
        )
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def replace(self, path: str, text: str) -> None:
        """Makes or replaces a common file (0644) in one step. Raises OSError."""
        target = self._prefix + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        scratch = f"{target}.new"
        with open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, target)

    def remove(self, path: str) -> None:
        """Removes a common file; harmless where there is none."""
        try:
            os.unlink(self._prefix + path)
        except FileNotFoundError:
            return

    def properties(self, path: str) -> dict[str, str]:
        """`KEY=value` lines, such as a `uevent` file's."""
        lines = (self.text(path) or "").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


class Notes:
    """Collects what could not be read; may be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._absences: dict[str, str] = {}

    def absent(self, fact: str, reason: str) -> None:
        """A fact that is missing from the inventory, and why."""
        with self._lock:
            self._absences.setdefault(fact, reason)

    @property
    def absences(self) -> tuple[Absence, ...]:
        """All of them, by fact."""
        with self._lock:
            return tuple(Absence(fact, reason) for fact, reason in sorted(self._absences.items()))


def ranges(text: str | None) -> list[int]:
    """The numbers of a kernel list, `0-3,8`."""
    numbers: list[int] = []
    for part in (text or "").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            numbers.extend(range(int(first), int(last or first) + 1 if (last or first).isdigit() else 0))
    return numbers


def as_root() -> str:
    """What would help where permission is missing; empty for root."""
    return "" if os.geteuid() == 0 else ": run as root"
