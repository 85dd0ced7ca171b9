"""The state folder: its lock, its database file, and the copy to restore from."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import structlog

from common.errors import Forbidden, HostUnavailable, NotFound, WrongState
from reconciler.store import rows

log = structlog.get_logger()

DATABASE, COPY, LOCK = "state.db", "state.db.bak", "lock"
# A copy out of a backup, laid there for `restore`.
STAGED = "state.db.restored"
FORMAT = 1
# What a damaged database makes of reading it.
DAMAGE = (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError)
_DAY = 86_400.0
# What SQLite may leave beside a database.
_SIDES = ("-wal", "-shm", "-journal")

_SCHEMA = """
PRAGMA synchronous = FULL;
BEGIN IMMEDIATE;
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE history (
  kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
  value BLOB, -- sealed; NULL: removed
  labels TEXT, etag INTEGER NOT NULL, create_revision INTEGER NOT NULL,
  PRIMARY KEY (kind, name, revision)
) WITHOUT ROWID, STRICT;
CREATE INDEX history_by_revision ON history (revision);
CREATE TABLE documents (
  bucket TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (bucket, key)
) WITHOUT ROWID, STRICT;
CREATE TABLE rings (
  ring TEXT NOT NULL, id INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (ring, id)
) WITHOUT ROWID, STRICT;
INSERT INTO meta VALUES ('revision', 0), ('compacted', 0), ('transaction', 0);
COMMIT;
"""


def lock(folder: Path) -> int:
    """Makes the folder (0700) and takes its lock; gives the descriptor that holds it.

    Raises WrongState where another process has it, Forbidden or HostUnavailable where the folder can't be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o777 != 0o700:
            folder.chmod(0o700)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise Forbidden(
            f"the state folder {folder} belongs to somebody else",
            next_step="run as its owner or choose --state-dir",
        ) from error
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        # Without room for the number the lock still holds; its rival then names an unknown process.
        with contextlib.suppress(OSError):
            os.pwrite(handle, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        pid = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise WrongState(
            f"the state folder {folder} is in use by process {pid}",
            next_step="stop that daemon, or choose another --state-dir",
        ) from None
    except OSError as error:
        os.close(handle)
        raise _unusable(folder, error) from error
    return handle


def connect(folder: Path, *, vfs: str | None = None) -> apsw.Connection:
    """Opens (or makes) the database, checked; raises WrongState where it is damaged or from the future."""
    path = folder / DATABASE
    connection = None
    try:
        with explained(path):
            if not path.exists():
                _make(folder, vfs)
            elif path.stat().st_size == 0:
                raise _damaged(path, "it is empty")
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
            connection.set_busy_timeout(5_000)
            version = int(connection.execute("PRAGMA user_version").get)
            if version > FORMAT:
                raise WrongState(
                    f"{path} has format {version}, this program reads format {FORMAT}",
                    next_step="run the version of nixcc that wrote it",
                )
            if version < FORMAT:
                raise _damaged(path, "it is not a database of nixcc")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -512")
            connection.execute("PRAGMA journal_size_limit = 4194304")
            found = connection.execute("PRAGMA integrity_check(1)").get
            if found != "ok":
                raise _damaged(path, str(found))
        return connection
    except BaseException:
        if connection is not None:
            _close(connection)
        raise


def copy_due(folder: Path) -> bool:
    """Whether the copy is older than a day (or missing)."""
    try:
        return time.time() - (folder / COPY).stat().st_mtime > _DAY
    except FileNotFoundError:
        return True


def make_copy(connection: apsw.Connection, folder: Path) -> None:
    """Writes a consistent copy beside the database; the old one stays until the new one is whole. Blocking."""
    fresh = folder / f"{COPY}.new"
    try:
        _create(fresh)
        target = apsw.Connection(str(fresh), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with target.backup("main", connection, "main") as backup:
                while not backup.done:
                    backup.step(256)
            # Readable without files beside it.
            target.execute("PRAGMA journal_mode = DELETE")
            # A value that rotted while the daemon ran must not take the place of a good one.
            rows.check(target)
        finally:
            target.close()
        _replace(fresh, folder / COPY)
    except (apsw.Error, OSError) as error:
        # The store itself is fine: a missing copy is told, not fatal.
        log.warning("no copy of the store could be made", folder=str(folder), error=str(error))
        for suffix in ("", *_SIDES):
            with contextlib.suppress(OSError):
                Path(f"{fresh}{suffix}").unlink(missing_ok=True)


def restore(folder: Path) -> Path:
    """Puts the copy out of a backup, else the last one, in the database's place; gives where the former one now lies.

    Raises NotFound without a copy, WrongState while a daemon runs or when the copy is damaged too, HostUnavailable
    where the disk refuses; then the damaged database stays where it is.
    """
    staged, path = folder / STAGED, folder / DATABASE
    copy = staged if staged.exists() else folder / COPY
    if not copy.exists():
        raise NotFound(
            f"there is no copy at {copy}", next_step="restore the state folder from your own backup"
        )
    handle = lock(folder)
    fresh = folder / f"{DATABASE}.new"
    try:
        _check_copy(copy)
        _create(fresh)
        shutil.copyfile(copy, fresh)
        aside = folder / f"{DATABASE}.damaged-{time.time_ns()}"
        # A log of the damaged database must not be replayed into the restored one.
        for suffix in _SIDES:
            if Path(f"{path}{suffix}").exists():
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        if path.exists():
            aside.unlink(missing_ok=True)
            os.link(path, aside)
        _replace(fresh, path)
        staged.unlink(missing_ok=True)
        return aside
    except OSError as error:
        raise _unusable(folder, error) from error
    finally:
        os.close(handle)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of opening the database, as people are told them."""
    try:
        yield
    except DAMAGE as error:
        raise _damaged(path, str(error)) from error
    except apsw.Error as error:
        raise HostUnavailable(
            f"{path} can't be opened: {error}",
            next_step="make the state folder writable and free space on its disk",
        ) from error
    except OSError as error:
        raise _unusable(path.parent, error) from error


def _make(folder: Path, vfs: str | None) -> None:
    """Makes an empty database: whole, or not at all."""
    if (folder / COPY).exists():
        raise WrongState(
            f"{folder / DATABASE} is missing, and its copy is there",
            next_step="restore the copy with: ncc doctor --restore, or remove it to begin with nothing",
        )
    fresh = folder / f"{DATABASE}.new"
    _create(fresh)
    connection = apsw.Connection(str(fresh), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
    try:
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    finally:
        _close(connection)
    _replace(fresh, folder / DATABASE)


def _check_copy(copy: Path) -> None:
    advice = "restore the state folder from your own backup"
    try:
        check = apsw.Connection(
            f"{copy.as_uri()}?immutable=1", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        try:
            found = check.execute("PRAGMA integrity_check(1)").get
            if found == "ok" and check.execute("PRAGMA user_version").get != FORMAT:
                found = "it is not a database of nixcc"
            if found == "ok":
                rows.check(check)
        finally:
            check.close()
    except apsw.Error as error:
        raise WrongState(f"{copy} is damaged too: {error}", next_step=advice) from error
    if found != "ok":
        raise WrongState(f"{copy} is damaged too: {found}", next_step=advice)


def _create(path: Path) -> None:
    """An empty file that only the owner reads."""
    for suffix in ("", *_SIDES):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _replace(fresh: Path, path: Path) -> None:
    """Puts a written file in the other's place, durably."""
    _sync(fresh)
    fresh.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _close(connection: apsw.Connection) -> None:
    with contextlib.suppress(apsw.Error):
        connection.close(True)


def _unusable(folder: Path, error: OSError) -> HostUnavailable:
    return HostUnavailable(
        f"the state folder {folder} can't be used: {error.strerror}",
        next_step="make it writable, free space, or choose another --state-dir",
    )


def _damaged(path: Path, how: str) -> WrongState:
    return WrongState(
        f"{path} is damaged: {how}",
        next_step="restore the last copy with: ncc doctor --restore (the damaged file is kept)",
    )
