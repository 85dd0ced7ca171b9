"""An archive's members into a folder: part by part below descriptors, so that none is written outside of it."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from common.errors import HostUnavailable
from services.system.drivers.archive_manifest import MANIFEST, Manifest, foreign, parsed

_HOLE = b"\0" * 65_536


def extract(stream: IO[bytes], into: Path, checkpoint: Callable[[str], None]) -> Manifest:
    """Writes an archive's members below an empty folder, and gives its manifest, not compared yet.

    Raises WrongState where it is no archive of ours or tries to leave the folder, HostUnavailable for a full disk.
    """
    manifest: Manifest | None = None
    folders: list[tuple[str, tarfile.TarInfo]] = []
    try:
        with (
            tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar,
            _Place(into) as place,
        ):
            for info in tar:
                if info.name == MANIFEST:
                    manifest = parsed(tar.extractfile(info), info.size)
                    continue
                checkpoint(info.name)
                _room(into, info.size)
                if info.isdir():
                    place.folder(info.name)
                    folders.append((info.name, info))
                elif info.issym():
                    place.link(info)
                elif info.isreg():
                    content = tar.extractfile(info)
                    assert content is not None  # a regular file has content
                    place.file(info, content)
                else:
                    raise foreign(f"{info.name!r} is neither file, folder nor link")
            # The deepest first, since a folder may not be writable any more afterwards.
            for name, info in sorted(folders, key=lambda pair: pair[0].count("/"), reverse=True):
                place.finish_folder(name, info)
    except tarfile.TarError as error:
        raise foreign(str(error)) from error
    except (EOFError, UnicodeError) as error:
        raise foreign(str(error) or "it ends too early") from error
    if manifest is None:
        raise foreign("it has no manifest")
    return manifest


def _room(folder: Path, size: int) -> None:
    disk = os.statvfs(folder)
    if size > disk.f_bavail * disk.f_frsize:
        raise HostUnavailable(
            f"{folder} has no room for a file of {size} bytes",
            next_step="make room, or restore to another disk",
        )


class _Place:
    """A folder that is written to by relative names, never left."""

    def __init__(self, folder: Path) -> None:
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._owner = os.geteuid() == 0

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def folder(self, name: str) -> None:
        """Makes one, open to its owner until it is finished."""
        with _Parent(self._root, name) as (parent, last):
            try:
                os.mkdir(last, 0o700, dir_fd=parent)
            except FileExistsError as error:
                raise foreign(f"{name!r} is there twice") from error

    def finish_folder(self, name: str, info: tarfile.TarInfo) -> None:
        """Gives it its owner, mode and time."""
        with _Parent(self._root, name) as (parent, last):
            handle = os.open(last, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                self._finish(handle, info)
            finally:
                os.close(handle)

    def link(self, info: tarfile.TarInfo) -> None:
        """Makes a symbolic link; nothing follows it here."""
        with _Parent(self._root, info.name) as (parent, last):
            try:
                os.symlink(info.linkname, last, dir_fd=parent)
            except FileExistsError as error:
                raise foreign(f"{info.name!r} is there twice") from error
            if self._owner:
                os.chown(last, info.uid, info.gid, dir_fd=parent, follow_symlinks=False)

    def file(self, info: tarfile.TarInfo, content: IO[bytes]) -> None:
        """Writes a file; blocks of zeros become holes."""
        with _Parent(self._root, info.name) as (parent, last):
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                handle = os.open(last, flags, 0o600, dir_fd=parent)
            except FileExistsError as error:
                raise foreign(f"{info.name!r} is there twice") from error
            try:
                while piece := content.read(len(_HOLE)):
                    if piece == _HOLE:
                        os.lseek(handle, len(piece), os.SEEK_CUR)
                        continue
                    while piece:
                        piece = piece[os.write(handle, piece) :]
                os.ftruncate(handle, os.lseek(handle, 0, os.SEEK_CUR))
                self._finish(handle, info)
            finally:
                os.close(handle)

    def _finish(self, handle: int, info: tarfile.TarInfo) -> None:
        if self._owner:
            os.fchown(handle, info.uid, info.gid)
        os.fchmod(handle, info.mode & 0o7777)
        os.utime(handle, (info.mtime, info.mtime))


class _Parent:
    """The folder that a name lies in, opened without following a link, and the name's last part."""

    def __init__(self, root: int, name: str) -> None:
        self._parts = name.split("/")
        if any(part in ("", ".", "..") for part in self._parts) or "\0" in name:
            raise foreign(f"{name!r} leads out of the folder")
        self._folder = os.dup(root)

    def __enter__(self) -> tuple[int, str]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            for part in self._parts[:-1]:
                deeper = os.open(part, flags, dir_fd=self._folder)
                os.close(self._folder)
                self._folder = deeper
        except OSError as error:
            os.close(self._folder)
            raise foreign(f"{'/'.join(self._parts)!r} lies in no folder of its own") from error
        return self._folder, self._parts[-1]

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)
