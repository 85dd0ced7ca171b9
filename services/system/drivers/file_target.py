"""One path as it is and as it should be: the system calls that change it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from contextlib import suppress
from hashlib import blake2b

from common.errors import Conflict, WrongState
from common.failpoints import hit
from services.system.drivers.root import sync_folder
from services.system.models import DEFAULT_MODE, MAX_CONTENT, FileType, FileWish

# Half-made files. Named after their target, so that the next try finds what a killed one left; locked while
# somebody writes them.
TEMPORARY = re.compile(r"\.nixcc-[0-9a-f]{16}\.tmp")

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Target:
    """One path about to be changed: its folder's descriptor and its name there."""

    def __init__(self, path: str, folder: int, name: str) -> None:
        self._path, self._folder, self._name = path, folder, name
        self._temporary = f".nixcc-{blake2b(os.fsencode(name), digest_size=8).hexdigest()}.tmp"
        try:
            self._status: os.stat_result | None = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            self._status = None

    def become(self, wish: FileWish, uid: int | None, gid: int | None) -> str:
        """Observes, then does what is missing."""
        if self._status is not None and file_type(self._status) is FileType.SPECIAL:
            raise self._special()
        if self._status is None or not self._holds(wish):
            return self._make(wish, uid, gid)
        return self._adjust(wish.mode, uid, gid)

    def vanish(self) -> bool:
        """Removes it."""
        remove_stale(self._folder, self._temporary)
        if self._status is None:
            return False
        kind = file_type(self._status)
        if kind is FileType.SPECIAL:
            raise self._special()
        if kind is FileType.DIRECTORY:
            self._remove_folder()
        else:
            os.unlink(self._name, dir_fd=self._folder)
        sync_folder(self._folder)
        return True

    def _holds(self, wish: FileWish) -> bool:
        assert self._status is not None
        if file_type(self._status) is not wish.type:
            return False
        if wish.type is FileType.SYMLINK:
            return os.fsdecode(os.readlink(self._name, dir_fd=self._folder)) == wish.target
        if wish.type is FileType.REGULAR:
            if self._status.st_size != len(wish.content):
                return False
            try:
                return read_content(self._folder, self._name, len(wish.content)) == wish.content
            except PermissionError:
                if self._status.st_uid != os.geteuid():
                    raise
                return False  # our own, made unreadable
        return True

    def _make(self, wish: FileWish, uid: int | None, gid: int | None) -> str:
        before = None if self._status is None else file_type(self._status)
        if before is FileType.DIRECTORY:
            self._remove_folder()
        remove_stale(self._folder, self._temporary)
        if wish.type is FileType.DIRECTORY:
            if before not in (None, FileType.DIRECTORY):
                os.unlink(self._name, dir_fd=self._folder)
            os.mkdir(self._name, 0o700, dir_fd=self._folder)
            self._status = os.stat(self._name, dir_fd=self._folder, follow_symlinks=False)
            self._adjust(DEFAULT_MODE[wish.type] if wish.mode is None else wish.mode, uid, gid)
        elif wish.type is FileType.SYMLINK:
            os.symlink(wish.target, self._temporary, dir_fd=self._folder)
            if uid is not None or gid is not None:
                os.chown(self._temporary, *_ids(uid, gid), dir_fd=self._folder, follow_symlinks=False)
            self._put_in_place()
        else:
            self._make_file(wish, uid, gid)
        hit("file.after_rename")
        sync_folder(self._folder)
        noun = wish.type.value
        if before is None:
            return f"created {noun} {self._path}"
        if before is wish.type:
            return f"wrote {self._path}"
        return f"replaced {before.value} {self._path} by a {noun}"

    def _make_file(self, wish: FileWish, uid: int | None, gid: int | None) -> None:
        mode = DEFAULT_MODE[wish.type] if wish.mode is None else wish.mode
        before = self._status
        if before is not None and stat.S_ISREG(before.st_mode):
            # What is unmanaged stays, but no new content runs with an old file's set-user-id bit.
            mode = before.st_mode & 0o1777 if wish.mode is None else mode
            uid = before.st_uid if uid is None else uid
            gid = before.st_gid if gid is None else gid
        descriptor = os.open(self._temporary, _CREATE, 0o600, dir_fd=self._folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            rest = memoryview(wish.content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            _change(descriptor, os.fstat(descriptor), mode, uid, gid)
            os.fsync(descriptor)
            self._put_in_place()
        except Exception:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder)
            raise
        finally:
            os.close(descriptor)

    def _put_in_place(self) -> None:
        hit("file.before_rename")
        try:
            os.rename(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except (IsADirectoryError, FileNotFoundError) as error:
            raise self._changed() from error

    def _adjust(self, mode: int | None, uid: int | None, gid: int | None) -> str:
        """Mode and owner of what is there."""
        assert self._status is not None
        if stat.S_ISLNK(self._status.st_mode):
            if not _differs(self._status, None, uid, gid):
                return ""
            os.chown(self._name, *_ids(uid, gid), dir_fd=self._folder, follow_symlinks=False)
            return f"set owner of {self._path}"
        # A descriptor can't be swapped, a name can.
        descriptor = os.open(self._name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            status = os.fstat(descriptor)
            if file_type(status) is not file_type(self._status):
                raise self._changed()
            if not _differs(status, mode, uid, gid):
                return ""
            _change(f"/proc/self/fd/{descriptor}", status, mode, uid, gid)
        finally:
            os.close(descriptor)
        return f"set mode and owner of {self._path}"

    def _remove_folder(self) -> None:
        try:
            os.rmdir(self._name, dir_fd=self._folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise WrongState(
                    f"folder {self._path} is not empty and is never removed with its content",
                    next_step="empty it by hand, or delete the resource with the deletion policy ORPHAN",
                ) from error
            raise

    def _changed(self) -> Conflict:
        return Conflict(f"{self._path} was changed by somebody else meanwhile")

    def _special(self) -> WrongState:
        return WrongState(
            f"{self._path} is a FIFO, a socket or a device; those are never replaced",
            next_step="remove it by hand",
        )


def file_type(status: os.stat_result) -> FileType:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return FileType.REGULAR
    if stat.S_ISDIR(mode):
        return FileType.DIRECTORY
    return FileType.SYMLINK if stat.S_ISLNK(mode) else FileType.SPECIAL


def read_content(folder: int, name: str, size: int) -> bytes | None:
    """The bytes of a regular file that had `size` bytes a moment ago; None where they are too many to be read."""
    if size > MAX_CONTENT:
        return None
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:  # became a link just now: gone, as a file; the hint comes
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from error
        raise
    try:
        content = os.read(descriptor, size + 1)
        if len(content) == size:
            return content
        # It changed under us, or tells no size.
        parts = [content]
        while content and sum(map(len, parts)) <= MAX_CONTENT:
            content = os.read(descriptor, MAX_CONTENT)
            parts.append(content)
    finally:
        os.close(descriptor)
    content = b"".join(parts)
    return content if len(content) <= MAX_CONTENT else None


def _ids(uid: int | None, gid: int | None) -> tuple[int, int]:
    return -1 if uid is None else uid, -1 if gid is None else gid


def _differs(status: os.stat_result, mode: int | None, uid: int | None, gid: int | None) -> bool:
    return (
        (mode is not None and mode != stat.S_IMODE(status.st_mode))
        or (uid is not None and uid != status.st_uid)
        or (gid is not None and gid != status.st_gid)
    )


def _change(
    target: int | str, status: os.stat_result, mode: int | None, uid: int | None, gid: int | None
) -> None:
    """The owner first: changing it clears the set-id bits."""
    if _differs(status, None, uid, gid):
        os.chown(target, *_ids(uid, gid))
    os.chmod(target, stat.S_IMODE(status.st_mode) if mode is None else mode)


def remove_stale(folder: int, name: str) -> None:
    """Removes a half-made file unless somebody is writing it right now."""
    try:
        descriptor = os.open(name, _READ, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError:
        os.unlink(name, dir_fd=folder)  # a link that a killed run left
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
