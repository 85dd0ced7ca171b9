"""Opens folders under a root without ever leaving it.

openat2(2) resolves the whole path in the kernel: beneath the root (a symbolic link that leads out of it, and
any absolute one, is refused), and never through /proc's magic links. Kernels without it get a walk that opens
each part with O_NOFOLLOW, so that there no link at all is followed.

With the root `/` nothing can escape, but a user could lead a daemon of root's astray with a link in a folder of
their own. There links are followed one by one, and only those that root or the daemon's user made (as systemd's
tmpfiles refuses "unsafe transitions").
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import ControlError, Forbidden, HostUnavailable, WrongState

_SYS_OPENAT2 = 437  # the same on every architecture
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_HOW = struct.Struct("=QQQ")  # struct open_how: flags, mode, resolve
# A rename elsewhere in the tree makes the kernel give up with EAGAIN; it asks to be tried again.
_TRIES = 32
_AT_ONCE = 128  # descriptors; a process may have 1,024 by default
_LINKS = 40  # as many as the kernel follows

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t)
_syscall.restype = ctypes.c_long


class Folders:
    """Folders of one root, each opened at most once until closed (one batch), as O_PATH descriptors."""

    def __init__(self, root: Path, *, use_openat2: bool = True) -> None:
        self._confined = root != Path("/")
        self._use_openat2 = use_openat2
        self._open: dict[str, int | OSError] = {}
        try:
            self._root = os.open(root, _FOLDER)
        except OSError as error:
            raise HostUnavailable(f"the root {root} can't be opened: {error.strerror}") from error

    def open(self, path: str) -> int:
        """The folder's descriptor, owned by this object and good until the next call.

        Raises OSError: EXDEV where a link leads out of the root, ELOOP where one may not be followed.
        """
        known = self._open.get(path)
        if known is None:
            if len(self._open) >= _AT_ONCE:
                self._close_all()
            try:
                known = self._resolve(path)
            except OSError as error:
                known = error
            self._open[path] = known
        if isinstance(known, OSError):
            raise known
        return known

    def make(self, path: str) -> int:
        """Like `open`; makes what is missing, with mode 0755."""
        try:
            return self.open(path)
        except FileNotFoundError:
            parent = self.make(path.rpartition("/")[0])
        name = path.rpartition("/")[2]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            pass  # somebody else was faster, or it is a link to nowhere: the next line tells
        else:
            folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                os.fchmod(folder, 0o755)
            finally:
                os.close(folder)
            sync_folder(parent)
        self._open.pop(path, None)
        return self.open(path)

    def close(self) -> None:
        """Closes all descriptors."""
        self._close_all()
        os.close(self._root)

    def _close_all(self) -> None:
        for known in self._open.values():
            if isinstance(known, int) and known != self._root:
                os.close(known)
        self._open.clear()

    def _resolve(self, path: str) -> int:
        relative = path.strip("/")
        if not relative:
            return self._root
        if self._use_openat2:
            for _ in range(_TRIES):
                try:
                    return _openat2(
                        self._root, relative, _RESOLVE_BENEATH if self._confined else _RESOLVE_NO_SYMLINKS
                    )
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno == errno.ELOOP and not self._confined:
                        break
                    if error.errno != errno.ENOSYS:
                        raise
                    self._use_openat2 = False
                    break
        return self._walk(relative)

    def _walk(self, relative: str) -> int:
        """Part by part, each below the descriptor of the one before."""
        folder, parts, links = os.dup(self._root), relative.split("/")[::-1], 0
        try:
            while parts:
                part = parts.pop()
                deeper = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                status = os.fstat(deeper)
                if stat.S_ISLNK(status.st_mode):
                    os.close(deeper)
                    links += 1
                    target = self._follow(folder, part, status, links)
                    if target.startswith("/"):
                        os.close(folder)
                        folder = os.dup(self._root)
                    parts += [part for part in target.split("/") if part][::-1]
                    continue
                os.close(folder)
                folder = deeper
                if not stat.S_ISDIR(status.st_mode):
                    raise _error(errno.ENOTDIR, relative)
        except BaseException:
            os.close(folder)
            raise
        return folder

    def _follow(self, folder: int, name: str, link: os.stat_result, links: int) -> str:
        if self._confined:
            raise _error(errno.EXDEV, name)
        if links > _LINKS or link.st_uid not in (0, os.geteuid()):
            raise _error(errno.ELOOP, name)
        return os.readlink(name, dir_fd=folder)


def _openat2(root: int, relative: str, resolve: int) -> int:
    how = _HOW.pack(_FOLDER, 0, resolve | _RESOLVE_NO_MAGICLINKS)
    descriptor: int = _syscall(_SYS_OPENAT2, root, os.fsencode(relative), how, len(how))
    if descriptor < 0:
        raise _error(ctypes.get_errno(), relative)
    return descriptor


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


@contextmanager
def folders(root: Path, *, use_openat2: bool = True) -> Iterator[Folders]:
    """One batch's folders."""
    opened = Folders(root, use_openat2=use_openat2)
    try:
        yield opened
    finally:
        opened.close()


def sync_folder(folder: int) -> None:
    """Brings a folder's entries to the disk; `folder` may be an O_PATH descriptor."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(readable)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems without it
            raise
    finally:
        os.close(readable)


def explain(error: OSError, path: str) -> ControlError:
    """The error's cause in our words."""
    number, text = error.errno, error.strerror or str(error)
    if number == errno.EXDEV:
        return Forbidden(
            f"{path}: a symbolic link on the way leads out of the root",
            next_step="remove the link, or declare the path it leads to",
        )
    if number == errno.ELOOP:
        return Forbidden(
            f"{path}: a symbolic link on the way belongs to another user, or leads round in circles",
            next_step="declare the path it leads to",
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return WrongState(f"{path}: a part of the path is no folder", next_step="remove what is in the way")
    if number == errno.ENOENT:
        return WrongState(f"{path}: a part of the path is a link to nowhere", next_step="remove the link")
    if number == errno.EBUSY:
        return WrongState(f"{path} is a mount point", next_step="unmount it first")
    if number == errno.EROFS:
        return WrongState(f"{path} is on a read-only file system", next_step="mount it writable")
    if number in (errno.EACCES, errno.EPERM):
        return Forbidden(f"{path}: {text}", next_step="run the service as root; check lsattr")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return HostUnavailable(f"{path}: {text}", retry_after=30, next_step="free some space")
    if number == errno.ENAMETOOLONG:
        return WrongState(f"{path}: {text} on this file system", next_step="choose a shorter name")
    return HostUnavailable(f"{path}: {text}", retry_after=5)
