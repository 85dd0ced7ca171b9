"""Mounted file systems with their usage, and swap in use."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from services.hardware.drivers.mountinfo import REMOTE, VIRTUAL, MountEntry, mounts, swaps
from services.hardware.drivers.tree import Notes, Tree
from services.hardware.models.storage import FileSystem, SwapSpace

# How long servers and programs behind a file system get to tell how full it is, in seconds.
_PATIENCE = 0.1


def file_systems(tree: Tree, patient: PatientUsage, notes: Notes) -> tuple[FileSystem, ...]:
    """All mounts, in the order they were made. A server that doesn't answer costs its usage and nothing else."""
    entries = list(mounts(tree.text("/proc/self/mountinfo") or ""))
    if not entries:
        notes.absent("file_systems", "/proc/self/mountinfo can't be read")
    if not tree.live:
        notes.absent("file_systems.size", "a recorded tree does not tell how full file systems are")
        return tuple(_noun(entry, None) for entry in entries)
    slow = [entry for entry in entries if _may_hang(entry)]
    usage = {entry.id: _usage(entry.mount_point) for entry in entries if entry not in slow}
    usage |= patient.ask(slow)
    for entry in entries:
        if entry.id not in usage:
            notes.absent(
                f"file_systems[{entry.mount_point}].size",
                f"{entry.source} did not answer within {_PATIENCE} s",
            )
        elif usage[entry.id] is None:
            notes.absent(f"file_systems[{entry.mount_point}].size", "it may not be asked")
    return tuple(_noun(entry, usage.get(entry.id)) for entry in entries)


def swap_spaces(tree: Tree) -> tuple[SwapSpace, ...]:
    """Swap in use, in the kernel's order."""
    found = swaps(tree.text("/proc/swaps") or "")
    return tuple(SwapSpace(swap.path, swap.type, swap.size, swap.used, swap.priority) for swap in found)


def _may_hang(entry: MountEntry) -> bool:
    return entry.fs_type in REMOTE or entry.fs_type.startswith("fuse") or entry.fs_type == "autofs"


def _usage(path: str) -> os.statvfs_result | None:
    try:
        return os.statvfs(path)
    except OSError:
        return None


class PatientUsage:
    """Asks servers that may hang, all at once. A call that hangs can't be ended: its thread is left to itself, and
    nobody else asks that server until it has answered, however often the machine is scanned.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[int] = set()

    def ask(self, entries: Sequence[MountEntry]) -> dict[int, os.statvfs_result | None]:
        """By mount; without those that gave no answer in time."""
        answers: SimpleQueue[tuple[int, os.statvfs_result | None]] = SimpleQueue()
        asked = 0
        for entry in entries:
            with self._lock:
                if entry.id in self._waiting:
                    continue
                self._waiting.add(entry.id)
            asked += 1
            arguments = (entry, answers)
            name = f"statvfs {entry.mount_point}"
            threading.Thread(target=self._ask, args=arguments, name=name, daemon=True).start()
        found: dict[int, os.statvfs_result | None] = {}
        deadline = time.monotonic() + _PATIENCE
        try:
            while len(found) < asked:
                key, answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
                found[key] = answer
        except Empty:
            pass
        return found

    def _ask(self, entry: MountEntry, answers: SimpleQueue[tuple[int, os.statvfs_result | None]]) -> None:
        answer = _usage(entry.mount_point)
        with self._lock:
            self._waiting.discard(entry.id)
        answers.put((entry.id, answer))


def _noun(entry: MountEntry, usage: os.statvfs_result | None) -> FileSystem:
    options = entry.all_options
    return FileSystem(
        mount_point=entry.mount_point,
        source=entry.source,
        root=entry.root,
        type=entry.fs_type,
        options=options,
        major_minor=entry.major_minor,
        read_only="ro" in options,
        virtual=entry.fs_type in VIRTUAL,
        size=usage.f_blocks * usage.f_frsize if usage else None,
        used=(usage.f_blocks - usage.f_bfree) * usage.f_frsize if usage else None,
        available=usage.f_bavail * usage.f_frsize if usage else None,
        inodes=usage.f_files if usage else None,
        inodes_free=usage.f_ffree if usage else None,
    )
