"""Trees of files into a tar stream and back, with a manifest of digests as its last member.

Reading never follows a link. Writing goes into a folder that nobody else uses, part by part below descriptors, so that
no archive, whoever made it, writes outside of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import apsw

from common.errors import ControlError, HostUnavailable, WrongState

MANIFEST = "MANIFEST.json"
FORMAT = 1
_PIECE = 1 << 20
_HOLE = b"\0" * 65_536
# What databases are called. A file of SQLite's is opened by SQLite alone: to close it ourselves would drop the locks
# that the loop, in the same process, holds on it (fcntl(2)).
_DATABASES = (".db", ".index", ".sqlite", ".sqlite3")
_SIDES = ("-wal", "-shm", "-journal")
# https://bford.info/cachedir/: what can be made again is left out.
_CACHE_TAG = "CACHEDIR.TAG"
_LARGEST_MANIFEST = 256 * 1024 * 1024
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


@dataclass(slots=True)
class Entry:
    """A file, folder or link of the archive. Names hold undecodable bytes as lone surrogates."""

    path: str
    # `file`, `folder` or `link`.
    type: str
    mode: int = 0
    size: int = 0
    sha256: str = ""
    target: str = ""
    database: bool = False


@dataclass(slots=True)
class Manifest:
    """What an archive holds."""

    created: float
    host: str
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    format: int = FORMAT


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
        copy = self._database(path, sound) if _may_be_database(path) else None
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
            _copy_database(path, copy)
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
                    manifest = _parsed(tar.extractfile(info), info.size)
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
                    raise _foreign(f"{info.name!r} is neither file, folder nor link")
            # The deepest first, since a folder may not be writable any more afterwards.
            for name, info in sorted(folders, key=lambda pair: pair[0].count("/"), reverse=True):
                place.finish_folder(name, info)
    except tarfile.TarError as error:
        raise _foreign(str(error)) from error
    except (EOFError, UnicodeError) as error:
        raise _foreign(str(error) or "it ends too early") from error
    if manifest is None:
        raise _foreign("it has no manifest")
    return manifest


def compare(folder: Path, manifest: Manifest, checkpoint: Callable[[str], None]) -> int:
    """Compares what lies in a folder with the manifest, all of it; gives the number of databases checked.

    Raises WrongState at the first difference.
    """
    wanted = {entry.path: entry for entry in manifest.entries}
    there = set(_names(folder))
    if missing := wanted.keys() - there:
        raise _different(f"{len(missing)} entries are missing, such as {min(missing)!r}")
    if extra := there - wanted.keys():
        raise _different(f"{len(extra)} entries are not in its manifest, such as {min(extra)!r}")
    databases = 0
    for name, entry in wanted.items():
        checkpoint(name)
        path = folder / name
        found = _entry(name, path)
        if (found.type, found.mode, found.size, found.target) != (
            *(entry.type, entry.mode, entry.size, entry.target),
        ):
            raise _different(f"{name!r} is not as it was")
        if found.sha256 != entry.sha256:
            raise _different(f"the content of {name!r} is not what it was")
        if entry.database:
            if problem := database_problem(path):
                raise _different(f"the database {name!r} is damaged: {problem}")
            databases += 1
    return databases


def database_problem(path: Path) -> str:
    """What SQLite's integrity check says; empty: all is well."""
    try:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(f"{path.absolute().as_uri()}?immutable=1", flags=flags)
        try:
            found = str(connection.execute("PRAGMA integrity_check(1)").get)
        finally:
            connection.close()
    except apsw.Error as error:
        return str(error)
    return "" if found == "ok" else found


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
            side = next((entry.name[: -len(end)] for end in _SIDES if entry.name.endswith(end)), None)
            if source.excluded(relative) or (side in names and str(side).endswith(_DATABASES)):
                continue
            yield relative
            if entry.is_dir(follow_symlinks=False):
                deeper.append(relative)
        stack += reversed(deeper)


def _may_be_database(path: Path) -> bool:
    """Whether its name says so, SQLite takes the name, and there is at least one page."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return path.suffix in _DATABASES and path.stat().st_size >= 512


def _copy_database(path: Path, copy: Path) -> None:
    source = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        source.set_busy_timeout(10_000)
        target = apsw.Connection(str(copy))
        try:
            with target.backup("main", source, "main") as backup:
                # All in one step: a writer in between would make it begin anew.
                backup.step(-1)
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()
    finally:
        source.close()


def _names(folder: Path, at: str = "") -> Iterator[str]:
    for entry in os.scandir(folder / at):
        name = f"{at}/{entry.name}" if at else entry.name
        yield name
        if entry.is_dir(follow_symlinks=False):
            yield from _names(folder, name)


def _entry(name: str, path: Path) -> Entry:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Entry(name, "link", target=os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        return Entry(name, "folder", mode)
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return Entry(name, "file", mode, status.st_size, digest.hexdigest())


def _parsed(stream: IO[bytes] | None, size: int) -> Manifest:
    if stream is None or size > _LARGEST_MANIFEST:
        raise _foreign("its manifest can't be read")
    try:
        value: dict[str, Any] = json.loads(stream.read())
        if value["format"] > FORMAT:
            raise WrongState(
                f"the archive has format {value['format']}, this program reads format {FORMAT}",
                next_step="use the version of nixcc that made it",
            )
        entries = [Entry(**entry) for entry in value.pop("entries")]
        return Manifest(entries=entries, **value)
    except (ValueError, TypeError, KeyError) as error:
        raise _foreign("its manifest can't be read") from error


def _room(folder: Path, size: int) -> None:
    disk = os.statvfs(folder)
    if size > disk.f_bavail * disk.f_frsize:
        raise HostUnavailable(
            f"{folder} has no room for a file of {size} bytes",
            next_step="make room, or restore to another disk",
        )


def _foreign(why: str) -> ControlError:
    return WrongState(f"it is no backup of the control center, or was made to do harm: {why}")


def _different(why: str) -> ControlError:
    return WrongState(f"the archive does not hold what was backed up: {why}", next_step="use another archive")


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
                raise _foreign(f"{name!r} is there twice") from error

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
                raise _foreign(f"{info.name!r} is there twice") from error
            if self._owner:
                os.chown(last, info.uid, info.gid, dir_fd=parent, follow_symlinks=False)

    def file(self, info: tarfile.TarInfo, content: IO[bytes]) -> None:
        """Writes a file; blocks of zeros become holes."""
        with _Parent(self._root, info.name) as (parent, last):
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                handle = os.open(last, flags, 0o600, dir_fd=parent)
            except FileExistsError as error:
                raise _foreign(f"{info.name!r} is there twice") from error
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
            raise _foreign(f"{name!r} leads out of the folder")
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
            raise _foreign(f"{'/'.join(self._parts)!r} lies in no folder of its own") from error
        return self._folder, self._parts[-1]

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)
