"""Rows of the database and back. SQLite has no checksums of its own: each value is stored with one."""

from __future__ import annotations

import json
import zlib
from typing import Any

import apsw

from reconciler.store.base import Record
from reconciler.store.watchers import Transition

COLUMNS = "kind, name, revision, value, labels, etag, create_revision"
SELECT = f"SELECT {COLUMNS} FROM history"  # noqa: S608 - constants
Row = tuple[Any, ...]


def seal(value: bytes, *place: Any) -> bytes:
    """The value with the checksum of itself and of where it belongs behind it."""
    return value + zlib.crc32(value, zlib.crc32(repr(place).encode())).to_bytes(4, "big")


def unseal(sealed: Any, *place: Any) -> bytes:
    """The value; raises apsw.CorruptError where it, or its place, is not what was written."""
    value = bytes(sealed[:-4])
    if seal(value, *place) != bytes(sealed):
        raise apsw.CorruptError(f"the checksum of {place[0]} {place[1]} is wrong")
    return value


def from_step(step: Transition) -> Row:
    """The row of history that a step adds; one without value where it removes."""
    record = step.after
    if record is None:
        return *step.key, step.revision, None, None, 0, 0
    labels = json.dumps(dict(record.labels), sort_keys=True) if record.labels else None
    place = record.kind, record.name, record.revision, labels, record.etag, record.create_revision
    return *place[:3], seal(record.value, *place), *place[3:]


def to_record(row: Row) -> Record:
    """The record of a row that has a value; raises apsw.CorruptError."""
    kind, name, revision, sealed, labels, etag, created = row
    value = unseal(sealed, kind, name, revision, labels, etag, created)
    return Record(kind, name, value, json.loads(labels) if labels else {}, revision, etag, created)


def check(connection: apsw.Connection) -> None:
    """Reads every value; raises apsw.CorruptError at the first one that is not what was written."""
    for row in connection.execute(f"{SELECT} WHERE value IS NOT NULL"):
        to_record(row)
    for ring, number, value in connection.execute("SELECT ring, id, value FROM rings"):
        unseal(value, ring, number)
    for bucket, key, value in connection.execute("SELECT bucket, key, value FROM documents"):
        unseal(value, bucket, key)
