"""Opens the state folder for the store: lock, database, copy, and everything that is current."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from reconciler.store import files, rows
from reconciler.store.base import Record
from reconciler.store.watchers import Key

# The newest row of each object at or before a revision.
_AT = " ".join(
    (
        rows.SELECT,
        "AS h WHERE value IS NOT NULL {}AND revision = (SELECT max(revision) FROM history",
        "WHERE kind = h.kind AND name = h.name AND revision <= :revision) ORDER BY kind, name",
    )
)


@dataclass(frozen=True, slots=True)
class Opened:
    """An open state folder, and what it held."""

    folder: Path
    lock: int
    writer: apsw.Connection
    reader: apsw.Connection
    revision: int
    compacted: int
    records: Sequence[Record]

    @property
    def path(self) -> Path:
        """The database file."""
        return self.folder / files.DATABASE

    def close(self, copy: bool) -> None:
        """Closes everything, after a copy where one is wanted; blocking."""
        try:
            if copy:
                files.make_copy(self.writer, self.folder)
            self.reader.close()
            # A checkpoint that fails now is made up for at the next start.
            with contextlib.suppress(apsw.Error):
                self.writer.close()
        finally:
            os.close(self.lock)


def open_folder(folder: Path, *, vfs: str | None = None) -> Opened:
    """Opens (or makes) the folder; blocking. Raises what `files.lock` and `files.connect` raise."""
    with contextlib.ExitStack() as stack:
        lock = files.lock(folder)
        stack.callback(os.close, lock)
        writer = files.connect(folder, vfs=vfs)
        stack.callback(writer.close, True)
        path = folder / files.DATABASE
        with files.explained(path):
            reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
            stack.callback(reader.close, True)
            reader.set_busy_timeout(5_000)
            reader.execute("PRAGMA cache_size = -512")
            meta = dict(reader.execute("SELECT key, value FROM meta"))
            newest = reader.execute("SELECT coalesce(max(revision), 0) FROM history").get
            if not {"revision", "compacted", "transaction"} <= set(meta) or newest > meta["revision"]:
                raise apsw.CorruptError("its revision is lost")
            records = list(records_at(reader, meta["revision"]))
        if meta["transaction"] and files.copy_due(folder):
            files.make_copy(writer, folder)
        stack.pop_all()
        return Opened(folder, lock, writer, reader, meta["revision"], meta["compacted"], records)


def records_at(
    reader: apsw.Connection, revision: int, kind: str | None = None, after: Key | None = None
) -> Iterator[Record]:
    """The records of a revision, by kind and name, read as they are asked for."""
    terms = "AND kind = :kind " if kind else ""
    terms += "AND (kind, name) > (:after_kind, :after_name) " if after else ""
    query = _AT.format(terms)
    after_kind, after_name = after or ("", "")
    cursor = reader.execute(
        query, {"revision": revision, "kind": kind, "after_kind": after_kind, "after_name": after_name}
    )
    try:
        for row in cursor:
            yield rows.to_record(row)
    finally:
        cursor.close(True)
