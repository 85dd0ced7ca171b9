"""Makes swap files, and tells those that were made here by their label."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable

from common.errors import Forbidden, HostUnavailable, InvalidRequest, WrongState
from common.process import run
from services.hardware.drivers.signatures import Read, swap_label

# The mark: a file with another label, or without one, is never resized or removed.
LABEL = "nixcc"
# So much of the file system stays free.
_SPARE = 64 << 20
# Files are allocated in such steps, so that progress can be told.
_STEP = 256 << 20

# linux/fs.h: flags of a file; a copy-on-write file can't be swapped to.
_GET_FLAGS, _SET_FLAGS, _NO_COPY_ON_WRITE = 0x80086601, 0x40086602, 0x00800000

Report = Callable[[str, int | None], None]


def size_and_label(path: str) -> tuple[int, str | None] | None:
    """A regular file's bytes and the label of its swap signature (None: it has no signature); None: no regular file.

    Raises Forbidden where it may not be read.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Forbidden(f"{path} can't be read: {error.strerror}") from error
    try:
        return status.st_size, swap_label(_reader(descriptor))
    finally:
        os.close(descriptor)


def is_ours(path: str) -> bool:
    """Whether the file was made here."""
    found = size_and_label(path)
    return found is not None and found[1] == LABEL


def make(path: str, size: int, report: Report) -> None:
    """Makes the file with a swap signature, 0600 and without holes; replaces one of ours in one step.

    Raises HostUnavailable (disk full), InvalidRequest (the place can't hold a swap file), WrongState (in the way).
    """
    folder, name = os.path.split(path)
    if os.path.realpath(folder) != folder:
        raise InvalidRequest(
            f"{folder} leads through a symbolic link", next_step=f"use {os.path.realpath(folder)}"
        )
    if os.path.lexists(path) and not is_ours(path):
        raise WrongState(
            f"{path} is there and was not made by this program", next_step="remove it, or choose another path"
        )
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        usage = os.statvfs(folder)
        if usage.f_bavail * usage.f_frsize < size + _SPARE:
            free = usage.f_bavail * usage.f_frsize >> 20
            raise HostUnavailable(
                f"{folder} has {free} MiB left, too few for {size >> 20} MiB of swap",
                retry_after=60,
                next_step="make room or ask for less",
            )
        _write(path, os.path.join(folder, f".{name}.{LABEL}"), size, report)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostUnavailable(
                f"{path}: the disk is full", retry_after=60, next_step="make room"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Forbidden(f"{path} can't be made: {error.strerror}") from error
        raise InvalidRequest(f"{path} can't be made: {error.strerror}") from error


def _write(path: str, scratch: str, size: int, report: Report) -> None:
    """Made under another name, so that what bears `path` is always whole; leftovers of a killed run are replaced."""
    if os.path.lexists(scratch):
        os.unlink(scratch)
    descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        _forbid_copy_on_write(descriptor)
        for start in range(0, size, _STEP):
            os.posix_fallocate(descriptor, start, min(_STEP, size - start))
            report(f"allocating {path}", min(99, (start + _STEP) * 100 // size))
        run(["mkswap", "--label", LABEL, "--", scratch])
        os.fsync(descriptor)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
    finally:
        os.close(descriptor)


def _forbid_copy_on_write(descriptor: int) -> None:
    """Needed on btrfs, unknown to most others."""
    try:
        flags = struct.unpack("l", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("l", 0)))[0]
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("l", flags | _NO_COPY_ON_WRITE))
    except OSError:
        return


def _reader(descriptor: int) -> Read:
    return lambda offset, size: os.pread(descriptor, size, offset)
