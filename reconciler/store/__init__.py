"""The store: desired state, its history and its watches, behind one interface."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

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
from reconciler.store.opening import open_folder
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

    opened = await asyncio.get_running_loop().run_in_executor(None, partial(open_folder, folder, vfs=vfs))
    return SqliteStore(opened)
