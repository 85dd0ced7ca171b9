"""The state folder: its lock, its database file, and the copy to restore from."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import apsw
import structlog

from common.errors import Forbidden, HostUnavailable, NotFound, WrongState

log = structlog.get_logger()

DATABASE, COPY, LOCK = "state.db", "state.db.bak", "lock"
FORMAT = 1
_DAY = 86_400.0

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE history (
  kind TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
  value BLOB, -- NULL: removed
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
INSERT INTO meta VALUES ('revision', 0), ('compacted', 0);
"""


def lock(folder: Path) -> int:
    """Makes the folder (0700) and takes its lock; gives the descriptor that holds it.

    Raises WrongState where another process has it, Forbidden or HostUnavailable where the folder can't be used.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise Forbidden(
            f"the state folder {folder} belongs to somebody else", next_step="run as its owner or choose --state-dir"
        ) from error
    except OSError as error:
        raise HostUnavailable(
            f"the state folder {folder} can't be used: {error.strerror}",
            next_step="make it writable, free space, or choose another --state-dir",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise WrongState(
            f"the state folder {folder} is in use by process {pid}",
            next_step="stop that daemon, or choose another --state-dir",
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def connect(folder: Path, *, vfs: str | None = None) -> apsw.Connection:
    """Opens (or makes) the database, checked; raises WrongState where it is damaged or from the future."""
    path = folder / DATABASE
    try:
        mask = os.umask(0o177)
        try:
            connection = apsw.Connection(str(path), vfs=vfs)
            connection.set_busy_timeout(5_000)
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            os.umask(mask)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -2000")
        version = int(connection.execute("PRAGMA user_version").get)
        if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_schema").get:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
        elif version != FORMAT:
            raise WrongState(
                f"{path} has format {version}, this program reads format {FORMAT}",
                next_step="run the version of nixcc that wrote it",
            )
        found = connection.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            raise _damaged(path, str(found))
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _damaged(path, str(error)) from error
    except apsw.Error as error:
        raise HostUnavailable(
            f"{path} can't be opened: {error}", next_step="make the state folder writable and free space on its disk"
        ) from error
    return connection


def copy_due(folder: Path) -> bool:
    """Whether the copy is older than a day (or missing)."""
    try:
        return time.time() - (folder / COPY).stat().st_mtime > _DAY
    except FileNotFoundError:
        return True


def make_copy(connection: apsw.Connection, folder: Path) -> None:
    """Writes a consistent copy beside the database; the old one stays until the new one is whole. Blocking."""
    fresh = folder / f"{COPY}.new"
    fresh.unlink(missing_ok=True)
    try:
        mask = os.umask(0o177)
        try:
            target = apsw.Connection(str(fresh))
        finally:
            os.umask(mask)
        try:
            with target.backup("main", connection, "main") as backup:
                while not backup.done:
                    backup.step(256)
        finally:
            target.close()
        fresh.replace(folder / COPY)
    except (apsw.Error, OSError) as error:
        # The store itself is fine: a missing copy is told, not fatal.
        log.warning("no copy of the store could be made", folder=str(folder), error=str(error))
        fresh.unlink(missing_ok=True)


def restore(folder: Path) -> Path:
    """Puts the last copy in the database's place; gives where the damaged one now lies.

    Raises NotFound without a copy, WrongState while a daemon runs or when the copy is damaged too.
    """
    copy = folder / COPY
    if not copy.exists():
        raise NotFound(f"there is no copy at {copy}", next_step="restore the state folder from your own backup")
    handle = lock(folder)
    try:
        check = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            if check.execute("PRAGMA integrity_check(1)").get != "ok":
                raise WrongState(f"{copy} is damaged too", next_step="restore the folder from your own backup")
        finally:
            check.close()
        aside = folder / f"{DATABASE}.damaged-{int(time.time())}"
        for suffix in ("", "-wal", "-shm"):
            path = folder / f"{DATABASE}{suffix}"
            if path.exists():
                path.rename(f"{aside}{suffix}")
        fresh = folder / f"{DATABASE}.new"
        fresh.write_bytes(copy.read_bytes())
        fresh.chmod(0o600)
        fresh.replace(folder / DATABASE)
        return aside
    except apsw.Error as error:
        raise WrongState(f"{copy} can't be read: {error}") from error
    finally:
        os.close(handle)


def _damaged(path: Path, how: str) -> WrongState:
    return WrongState(
        f"{path} is damaged: {how}", next_step="restore the last copy with: ncc doctor --restore (the damaged file is kept)"
    )
