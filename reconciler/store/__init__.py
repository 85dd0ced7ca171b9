"""The store: desired state, its history and its watches, behind one interface."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import apsw

from reconciler.store import files
from reconciler.store.base import (
    Change,
    Event,
    EventType,
    Page,
    Put,
    Record,
    Remove,
    Store,
)
from reconciler.store.memory import MemoryStore
from reconciler.store.selector import Selector
from reconciler.store.sqlite import SqliteStore

__all__ = [
    "Change",
    "Event",
    "EventType",
    "MemoryStore",
    "Page",
    "Put",
    "Record",
    "Remove",
    "Selector",
    "SqliteStore",
    "Store",
    "open_store",
]


async def open_store(folder: Path, *, vfs: str | None = None) -> SqliteStore:
    """Opens the store of a state folder, making it where there is none.

    Raises WrongState (in use, damaged, from the future), Forbidden or HostUnavailable (folder or disk).
    """

    def connect() -> tuple[int, apsw.Connection]:
        lock = files.lock(folder)
        try:
            connection = files.connect(folder, vfs=vfs)
        except BaseException:
            os.close(lock)
            raise
        if files.copy_due(folder) and connection.execute("SELECT value FROM meta WHERE key = 'revision'").get:
            files.make_copy(connection, folder)
        return lock, connection

    lock, connection = await asyncio.get_running_loop().run_in_executor(None, connect)
    return SqliteStore(folder, lock, connection, vfs=vfs)
