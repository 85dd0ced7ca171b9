"""The lock file on disk: read whole, replaced whole, by one updater at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from common.errors import Conflict, Forbidden, HostUnavailable, NotFound, WrongState

LOCK, FLAKE = "flake.lock", "flake.nix"
# A lock file of a thousand inputs has some 500 KiB.
_LARGEST = 16 * 1024 * 1024

_TEMPORARY = ".flake.lock.nixcc-"


def read(folder: Path) -> bytes:
    """The lock file; empty: there is none. NotFound: no flake.nix. WrongState: no regular file, or a huge one."""
    require_flake(folder)
    try:
        with open(folder / LOCK, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise WrongState(f"{folder / LOCK} is no regular file")
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise _told(error, folder / LOCK) from error
    if len(data) > _LARGEST:
        raise WrongState(f"{folder / LOCK} has more than {_LARGEST} bytes")
    return data


def require_flake(folder: Path) -> None:
    """Raises NotFound where there is no flake.nix."""
    if not (folder / FLAKE).is_file():
        what = (
            f"there is no flake in {folder}: it has no flake.nix"
            if folder.is_dir()
            else f"there is no {folder}"
        )
        raise NotFound(what, next_step="name the folder of the flake that the host is built from")


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Keeps other updaters off the folder, in whatever process. Conflict where one is at it."""
    require_flake(folder)
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _told(error, folder) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"an update of {folder} runs already", next_step="wait until it has ended: ncc update history"
            ) from None
        yield
    finally:
        os.close(descriptor)


def check_writable(folder: Path) -> None:
    """Raises Forbidden or WrongState where the lock file could not be replaced, by trying."""
    target = _target(folder)
    temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        os.unlink(temporary)
    except OSError as error:
        raise _told(error, target) from error


def install(folder: Path, expected: bytes, new: bytes) -> None:
    """Replaces the lock file, durably; empty: removes it. Conflict where it isn't `expected` any more.

    Owner and mode stay; a link stays a link. A crash leaves the old one or the new one, never a part.
    """
    current = read(folder)
    if current == new:
        return
    if current != expected:
        raise Conflict(
            f"{folder / LOCK} was changed meanwhile; it is left as it is", next_step="run the update again"
        )
    target = _target(folder)
    try:
        _sweep(target.parent)
        if new:
            _replace(target, new, folder)
        else:
            target.unlink(missing_ok=True)
        descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _told(error, target) from error


def _replace(target: Path, new: bytes, folder: Path) -> None:
    try:
        before = os.stat(target)
    except FileNotFoundError:
        # A new one belongs to whom flake.nix does.
        before = os.stat(folder / FLAKE)
    temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(new)
            file.flush()
            if os.geteuid() == 0:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode) & 0o666)
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _sweep(folder: Path) -> None:
    """Removes what a killed updater left; only the flake's owner comes here."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):
            path.unlink()


def _target(folder: Path) -> Path:
    """The file itself, where the name is a link."""
    return Path(os.path.realpath(folder / LOCK))


def _told(error: OSError, path: Path) -> Exception:
    text = f"{path} can't be written: {error.strerror}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Forbidden(
            text, next_step="make the flake's folder writable for the daemon, or name its source"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return HostUnavailable(text, retry_after=60.0, next_step="make room on that disk")
    return WrongState(text)
