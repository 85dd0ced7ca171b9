"""Databases of SQLite in a tree: which files may be one, consistent copies, and whether one is sound."""

from __future__ import annotations

from pathlib import Path

import apsw

# What databases are called. A file of SQLite's is opened by SQLite alone: to close it ourselves would drop the locks
# that the loop, in the same process, holds on it (fcntl(2)).
DATABASES = (".db", ".index", ".sqlite", ".sqlite3")
# What SQLite keeps beside one while it is in use.
SIDES = ("-wal", "-shm", "-journal")


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


def may_be_database(path: Path) -> bool:
    """Whether its name says so, SQLite takes the name, and there is at least one page."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return path.suffix in DATABASES and path.stat().st_size >= 512


def copy_database(path: Path, copy: Path) -> None:
    """A consistent copy of one that may be in use; raises apsw.Error."""
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
