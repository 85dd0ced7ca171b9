"""Archives on disk: made under another name until they are whole, and restored into folders that appear whole."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import gzip
import os
import shutil
import socket
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common import failpoints
from common.errors import AlreadyExists, Cancelled, ControlError, Forbidden, HostUnavailable, WrongState
from services.system.backup.models import Archive, Contents, Encryption, Key, archive_name
from services.system.drivers import archive_age
from services.system.drivers.archive_compare import compare
from services.system.drivers.archive_extract import extract
from services.system.drivers.archive_manifest import Manifest
from services.system.drivers.archive_tree import Source, TreeWriter

# Told about each file: what is being done.
Tell = Callable[[str], None]

# Seconds that a job waits for another one in the same folder.
WAIT = 60.0
_PARTIAL = ".nixcc-backup-"
_RESTORE = ".nixcc-restore-"
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


@dataclass(frozen=True, slots=True)
class Job:
    """Who wants to know, and who may stop it."""

    tell: Tell = lambda _: None
    cancel: threading.Event | None = None

    def checkpoint(self, name: str) -> None:
        """Raises Cancelled where nobody wants it any more."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("the backup job was cancelled")
        self.tell(name.encode(errors="surrogateescape").decode(errors="replace"))


class ArchiveDriver:
    """Makes, checks, restores and deletes archives."""

    def create(
        self,
        folder: Path,
        policy: str,
        sources: Sequence[Source],
        encryption: Encryption,
        key: Path | None,
        job: Job,
        created: float | None = None,
    ) -> Archive:
        """Makes an archive in the folder; leaves nothing behind where it fails.

        `key` is the passphrase's file, `created` the time that it is told to be of (seconds since the epoch).
        """
        created = time.time() if created is None else created
        with _explained(folder), _locked(folder, job):
            _sweep(folder)
            partial = folder / f"{_PARTIAL}{os.getpid()}.partial"
            manifest = Manifest(created, socket.gethostname())
            try:
                sink = self._write(partial, manifest, sources, encryption, key, job)
                name, step = archive_name(policy, created), 0.0
                while (folder / name).exists():
                    step += 0.001
                    name = archive_name(policy, created + step)
                failpoints.hit("backup.before_rename")
                partial.rename(folder / name)
                _sync(folder)
                failpoints.hit("backup.after_rename")
            finally:
                partial.unlink(missing_ok=True)
        return Archive(str(folder / name), policy, created + step, sink.size, sink.sha256)

    def verify(self, path: Path, key: Key, job: Job) -> Contents:
        """Restores it into a folder that is removed again, and compares all of it."""
        with _explained(path.parent), _locked(path.parent, job):
            _sweep(path.parent)
            scratch = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}verify-", dir=path.parent))
            try:
                return self._extract(path, key, scratch, job)
            finally:
                _remove(scratch)

    def restore(self, path: Path, key: Key, target: Path, job: Job) -> Contents:
        """Restores it into a new folder, which appears when all of it is there and has been compared."""
        if os.path.lexists(target):
            raise AlreadyExists(
                f"{target} is there already", next_step="name a folder that does not exist yet"
            )
        with _explained(target):
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _sweep_restores(target.parent)
            scratch = Path(tempfile.mkdtemp(prefix=f"{_RESTORE}{os.getpid()}-", dir=target.parent))
            try:
                contents = self._extract(path, key, scratch, job)
                # One for all: 10,000 files one by one would take 10 s.
                os.sync()
                failpoints.hit("backup.before_restored")
                scratch.rename(target)
                _sync(target.parent)
            except BaseException:
                _remove(scratch)
                raise
        return contents

    def replace(self, fresh: Path, place: Path) -> Path | None:
        """Puts a copy of a folder in another's place in one step; gives where the former one lies now."""
        with _explained(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            staged = place.with_name(f".{place.name}.nixcc-restored")
            _remove(staged)
            shutil.copytree(fresh, staged, symlinks=True, copy_function=_copy)
            _own(fresh, staged)
            os.sync()
            if not os.path.lexists(place):
                staged.rename(place)
                _sync(place.parent)
                return None
            former = place.with_name(f"{place.name}.before-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
            while os.path.lexists(former):
                former = former.with_name(f"{former.name}-2")
            # Before the exchange: a name that nobody sweeps, for what was there must outlive a kill right after it.
            staged.rename(former)
            _exchange(former, place)
            failpoints.hit("backup.exchanged")
            _sync(place.parent)
            return former

    def delete(self, path: Path) -> bool:
        """Removes an archive; False where there is none."""
        with _explained(path):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            _sync(path.parent)
            return True

    def _write(
        self,
        partial: Path,
        manifest: Manifest,
        sources: Sequence[Source],
        encryption: Encryption,
        key: Path | None,
        job: Job,
    ) -> archive_age.Sink:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with (
            open(handle, "wb") as file,
            tempfile.TemporaryDirectory(prefix=f"{_PARTIAL}scratch-", dir=partial.parent) as scratch,
        ):
            sink = archive_age.Sink(file)
            with (
                archive_age.encrypting(sink, encryption.recipients, key) as stream,
                gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=6, mtime=0) as packed,
                TreeWriter(packed, manifest, Path(scratch)) as writer,  # type: ignore[arg-type]
            ):
                for source in sources:
                    writer.add(source, job.checkpoint)
                failpoints.hit("backup.before_finish")
                writer.finish()
            file.flush()
            os.fsync(file.fileno())
        return sink

    def _extract(self, path: Path, key: Key, into: Path, job: Job) -> Contents:
        identity = Path(key.identity_file) if key.identity_file else None
        passphrase = Path(key.passphrase_file) if key.passphrase_file else None
        try:
            with (
                archive_age.decrypting(path, identity, passphrase) as stream,
                gzip.GzipFile(fileobj=stream, mode="rb") as packed,
            ):
                manifest = extract(packed, into, job.checkpoint)  # type: ignore[arg-type]
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise WrongState(f"{path} is no backup of the control center: {error}") from error
        databases = compare(into, manifest, job.checkpoint)
        size = sum(entry.size for entry in manifest.entries)
        return Contents(
            len(manifest.entries), size, databases, manifest.created, manifest.host, tuple(manifest.skipped)
        )


@contextmanager
def _locked(folder: Path, job: Job) -> Iterator[None]:
    """One job at a time in a folder, whichever process runs it; what it left when it was killed is then swept."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + WAIT
        while not _taken(handle):
            if time.monotonic() >= until:
                raise HostUnavailable(
                    f"another backup job is at work in {folder}",
                    retry_after=10,
                    next_step="try again when it has ended",
                )
            job.checkpoint(f"waiting for another job in {folder}")
            time.sleep(0.1)  # flock has no deadline of its own, and the job may be cancelled
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Removes what killed jobs left; the folder's lock is held."""
    for path in folder.glob(f"{_PARTIAL}*"):
        _remove(path)


def _sweep_restores(folder: Path) -> None:
    """Removes what restores of processes that are no more left."""
    for path in folder.glob(f"{_RESTORE}*"):
        process = path.name.removeprefix(_RESTORE).partition("-")[0]
        if process.isdecimal() and not Path("/proc", process).exists():
            _remove(path)


def _remove(path: Path) -> None:
    """Removes a tree, folders that may not be written included."""

    def again(function: Callable[..., object], name: str, _: object) -> None:
        os.chmod(os.path.dirname(name), 0o700)
        if os.path.isdir(name) and not os.path.islink(name):
            os.chmod(name, 0o700)
        function(name)

    if path.is_dir() and not path.is_symlink():
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700)
        shutil.rmtree(path, onerror=again)
    else:
        path.unlink(missing_ok=True)


def _exchange(one: Path, other: Path) -> None:
    """renameat2(2) with RENAME_EXCHANGE; two renames where the file system has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)
    )
    if done == 0:
        return
    number = ctypes.get_errno()
    if number not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(number, os.strerror(number), str(other))
    aside = one.with_name(f"{one.name}-old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _copy(source: str, target: str, *, follow_symlinks: bool = True) -> str:
    return str(shutil.copy2(source, target, follow_symlinks=follow_symlinks))


def _own(source: Path, target: Path) -> None:
    """Gives a copied tree the owners of the original."""
    if os.geteuid() != 0:
        return
    for folder, folders, files in os.walk(source):
        relative = os.path.relpath(folder, source)
        for name in (".", *folders, *files):
            status = os.lstat(os.path.join(folder, name))
            os.chown(
                os.path.join(target, relative, name), status.st_uid, status.st_gid, follow_symlinks=False
            )


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _error(error, path) from error


def _error(error: OSError, path: Path) -> ControlError:
    text = error.strerror or str(error)
    where = error.filename or path
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostUnavailable(f"{where}: {text}", retry_after=60, next_step=f"make room at {path}")
    if error.errno == errno.EROFS:
        return WrongState(f"{where}: {text}", next_step="choose a folder that can be written")
    if isinstance(error, PermissionError):
        return Forbidden(f"{where}: {text}", next_step="run the daemon as root, or choose another folder")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return WrongState(f"{where}: a part of the path is no folder")
    return HostUnavailable(f"{where}: {text}")
