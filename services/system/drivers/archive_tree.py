"""Trees of files into a tar stream, with a manifest of digests as its last member. Reading never follows a link."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import apsw

from common.errors import HostUnavailable, WrongState
from services.system.drivers.archive_databases import (
    DATABASES,
    SIDES,
    copy_database,
    database_problem,
    may_be_database,
)
from services.system.drivers.archive_manifest import MANIFEST, Entry, Manifest

# https://bford.info/cachedir/: what can be made again is left out.
_CACHE_TAG = "CACHEDIR.TAG"
_MOST_SKIPPED = 200


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that goes into the archive under a name."""

    name: str
    folder: Path
    # Whether to leave out a path, relative to the folder.
    excluded: Callable[[str], bool] = lambda _: False
    # Databases without which the archive would be worth nothing, relative to the folder.
    sound: frozenset[str] = frozenset()


class TreeWriter:
    """Adds trees to a tar stream."""

    def __init__(self, stream: IO[bytes], manifest: Manifest, scratch: Path) -> None:
        self._tar = tarfile.open(  # noqa: SIM115 - closed by finish()
            fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        )
        self._stream: Any = self._tar.fileobj
        self._manifest = manifest
        self._scratch = scratch

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            # Half an archive is not finished: its stream would only try to when it is collected.
            self._stream.closed = True

    def add(self, source: Source, checkpoint: Callable[[str], None]) -> None:
        """Adds a tree; `checkpoint` is called before each file with its path."""
        for relative in _walk(source):
            name = f"{source.name}/{relative}" if relative else source.name
            path = source.folder / relative if relative else source.folder
            checkpoint(name)
            try:
                self._add(name, path, relative in source.sound)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it went away meanwhile
            except PermissionError as error:
                self._skip(name, str(error.strerror))

    def finish(self) -> None:
        """Writes the manifest and the end of the archive."""
        raw = json.dumps(asdict(self._manifest), separators=(",", ":")).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode, info.mtime = len(raw), 0o600, int(self._manifest.created)
        self._tar.addfile(info, io.BytesIO(raw))
        self._tar.close()

    def _add(self, name: str, path: Path, sound: bool) -> None:
        status = path.lstat()
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = stat.S_IMODE(status.st_mode), status.st_mtime
        info.uid, info.gid = status.st_uid, status.st_gid
        entry = Entry(name, "file", info.mode)
        if stat.S_ISLNK(status.st_mode):
            info.type, entry.type = tarfile.SYMTYPE, "link"
            info.linkname = entry.target = os.readlink(path)
            entry.mode = 0
            self._tar.addfile(info)
        elif stat.S_ISDIR(status.st_mode):
            info.type, entry.type = tarfile.DIRTYPE, "folder"
            self._tar.addfile(info)
        elif stat.S_ISREG(status.st_mode):
            self._file(info, entry, path, sound)
        else:
            self._skip(name, "a socket, a FIFO or a device")
            return
        self._manifest.entries.append(entry)

    def _file(self, info: tarfile.TarInfo, entry: Entry, path: Path, sound: bool) -> None:
        copy = self._database(path, sound) if may_be_database(path) else None
        if copy is not None:
            entry.database = True
            try:
                with open(copy, "rb") as consistent:
                    self._content(info, entry, consistent)
            finally:
                copy.unlink()
            return
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as stream:
            self._content(info, entry, stream)

    def _content(self, info: tarfile.TarInfo, entry: Entry, stream: IO[bytes]) -> None:
        info.size = entry.size = os.fstat(stream.fileno()).st_size
        content = _Exactly(stream, info.size)
        self._tar.addfile(info, content)
        entry.sha256 = content.sha256
        if content.padded:
            self._skip(entry.path, "it got shorter while it was read; its end is zeros")

    def _database(self, path: Path, sound: bool) -> Path | None:
        """A consistent copy of a database that may be in use; None where the file is to be taken as it is.

        Raises WrongState where it has to be sound and is not.
        """
        copy = self._scratch / "database"
        copy.unlink(missing_ok=True)
        try:
            copy_database(path, copy)
            problem = database_problem(copy)
        except (apsw.NotADBError, apsw.CorruptError) as error:
            problem = str(error)
        except apsw.Error as error:
            copy.unlink(missing_ok=True)
            raise HostUnavailable(f"{path} can't be copied: {error}") from error
        if not problem:
            return copy
        copy.unlink(missing_ok=True)
        if sound:
            raise WrongState(
                f"{path} is damaged: {problem}",
                next_step="ncc doctor tells more; ncc doctor --restore mends it",
            )
        return None

    def _skip(self, name: str, why: str) -> None:
        if len(self._manifest.skipped) < _MOST_SKIPPED:
            self._manifest.skipped.append(
                f"{name.encode(errors='surrogateescape').decode(errors='replace')}: {why}"
            )


def _walk(source: Source) -> Iterator[str]:
    """Relative paths, parents first; "" is the folder itself."""
    yield ""
    stack = [""]
    while stack:
        folder = stack.pop()
        try:
            entries = sorted(os.scandir(source.folder / folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            continue
        names = {entry.name for entry in entries}
        if folder and _CACHE_TAG in names:
            continue
        deeper = []
        for entry in entries:
            relative = f"{folder}/{entry.name}" if folder else entry.name
            side = next((entry.name[: -len(end)] for end in SIDES if entry.name.endswith(end)), None)
            if source.excluded(relative) or (side in names and str(side).endswith(DATABASES)):
                continue
            yield relative
            if entry.is_dir(follow_symlinks=False):
                deeper.append(relative)
        stack += reversed(deeper)


class _Exactly(io.RawIOBase):
    """So many bytes of a file that may change meanwhile: zeros where it got shorter. Hashes them."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._left = stream, size
        self._hash = hashlib.sha256()
        self.padded = False

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return self._hash.hexdigest()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(wanted)
        if len(data) < wanted:
            self.padded = True
            data += b"\0" * (wanted - len(data))
        self._left -= wanted
        self._hash.update(data)
        return data
