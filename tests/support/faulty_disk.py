"""An SQLite VFS over the real one whose Nth write, sync or truncate fails, as a dying or full disk does."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apsw

FAULTS = ("EIO", "ENOSPC", "short")
OPERATIONS = ("write", "sync", "truncate")


@dataclass
class Plan:
    """Which operation fails, from which one on, how, and how often (None: until healed)."""

    operation: str = ""
    first: int = 1
    fault: str = "EIO"
    times: int | None = 1
    seen: dict[str, int] = field(default_factory=dict)
    failed: int = 0

    def hit(self, operation: str) -> str:
        """The fault that this operation has; empty: none."""
        self.seen[operation] = self.seen.get(operation, 0) + 1
        if operation != self.operation or self.seen[operation] < self.first:
            return ""
        if self.times is not None and self.failed >= self.times:
            return ""
        self.failed += 1
        return self.fault


class Disk(apsw.VFS):  # type: ignore[misc]
    """Registered under a name while it lives; `plan` may be changed at any time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.plan = Plan()
        super().__init__(name, "", maxpathname=0)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _File(self, name, flags)


class _File(apsw.VFSFile):  # type: ignore[misc]
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        fault = self._disk.plan.hit("write")
        if fault == "short":
            super().xWrite(bytes(data[: len(data) // 2]), offset)
        _fail(fault)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        fault = self._disk.plan.hit("sync")
        if fault == "short":
            fault = "EIO"
        _fail(fault)
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        fault = self._disk.plan.hit("truncate")
        _fail("EIO" if fault == "short" else fault)
        super().xTruncate(size)


def _fail(fault: str) -> None:
    if fault == "EIO":
        raise apsw.IOError("input/output error")
    if fault:
        raise apsw.FullError(f"disk is full ({errno.ENOSPC})")


@contextmanager
def faulty_disk(name: str) -> Iterator[Disk]:
    """A disk that works until its plan says otherwise."""
    disk = Disk(name)
    try:
        yield disk
    finally:
        disk.plan = Plan()
        disk.unregister()
