"""Disk images of this host: read from their first bytes, made and grown by qemu-img."""

from __future__ import annotations

import os
import stat
import struct
import threading
from pathlib import Path

from common.errors import AlreadyExists, CommandFailed, ControlError, Forbidden, NotFound, WrongState
from common.process import run, stream
from services.vm.models import Image

# docs/interop/qcow2.txt of QEMU: magic, version, offset and length of the backing file's name, cluster bits, size.
_HEADER = struct.Struct(">4sIQIIQ")
_MAGIC = b"QFI\xfb"
_LONGEST_NAME = 1023
# A cluster's allocation needs no more on any file system we know.
_TIMEOUT = 120.0
# Seconds that copying a disk may take.
_LONG = 12 * 3_600.0


class HostImages:
    """The files and block devices that the machines' disks are."""

    def get(self, path: str, format: str = "") -> Image | None:
        """See Images."""
        try:
            with open(path, "rb") as file:
                return _read(file.fileno(), path, format)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise Forbidden(f"disk image {path} can't be read: {error.strerror}") from error
        except OSError as error:
            raise ControlError(f"disk image {path} can't be read: {error.strerror}") from error

    def is_block(self, path: str) -> bool:
        """See Images."""
        try:
            return stat.S_ISBLK(os.stat(path).st_mode)
        except OSError:
            return False

    def create(self, path: str, format: str, size: int | None, backing: str) -> None:
        """See Images. It appears under its name only when it is whole."""
        if os.path.lexists(path):
            raise AlreadyExists(f"there is a file {path} already")
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            raise NotFound(f"the folder {folder} of disk image {path} does not exist", next_step="make it")
        argv = ["qemu-img", "create", "-q", "-f", format]
        if backing:
            below = self.get(backing)
            if below is None:
                raise NotFound(f"the backing image {backing} of {path} does not exist")
            argv += ["-b", backing, "-F", below.format]
        unfinished = f"{path}.{os.getpid()}.partial"
        try:
            run([*argv, "--", unfinished, *([str(size)] if size is not None else [])], timeout=_TIMEOUT)
            os.chmod(unfinished, 0o600)
            os.link(unfinished, path)
        except FileExistsError as error:
            raise AlreadyExists(f"there is a file {path} already") from error
        finally:
            Path(unfinished).unlink(missing_ok=True)

    def copy(self, path: str, format: str, to: str, cancel: threading.Event) -> None:
        """See Images. qemu-img holds the image's lock meanwhile."""
        try:
            stream(
                ["qemu-img", "convert", "-f", format, "-O", format, "--", path, to],
                on_line=lambda line: None,
                cancel=cancel,
                timeout=_LONG,
            )
            os.chmod(to, 0o600)
        except CommandFailed as error:
            if "lock" in str(error):
                raise WrongState(
                    f"disk image {path} is in use: {error.message}", next_step="try it again"
                ) from error
            raise

    def grow(self, path: str, format: str, size: int) -> None:
        """See Images."""
        run(["qemu-img", "resize", "-q", "-f", format, "--", path, str(size)], timeout=_TIMEOUT)

    def remove(self, path: str) -> None:
        """See Images."""
        Path(path).unlink(missing_ok=True)


def _read(file: int, path: str, format: str) -> Image:
    start = os.pread(file, _HEADER.size, 0)
    is_qcow2 = len(start) == _HEADER.size and start.startswith(_MAGIC)
    if format == "raw" or (not format and not is_qcow2):
        return Image(path, "raw", os.lseek(file, 0, os.SEEK_END))
    if not is_qcow2:
        raise WrongState(
            f"{path} is no qcow2 image",
            next_step="say format: RAW if that is what it is, or choose another path",
        )
    _, _, offset, length, _, size = _HEADER.unpack(start)
    backing = ""
    if offset and 0 < length <= _LONGEST_NAME:
        backing = os.fsdecode(os.pread(file, length, offset))
        backing = os.path.normpath(os.path.join(os.path.dirname(path), backing))
    return Image(path, "qcow2", size, backing)
