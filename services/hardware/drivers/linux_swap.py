"""Swap of the running host: /proc/swaps to see it, swapon(8), swapoff(8) and mkswap(8) to change it."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping, Sequence

from common.errors import CommandFailed, ControlError, Forbidden, HostUnavailable, InvalidRequest, WrongState
from common.manager import Emit
from common.process import run
from services.hardware.drivers import sources, swap_files, zram
from services.hardware.drivers.mountinfo import SwapEntry, swaps
from services.hardware.drivers.proc_watch import ProcWatch
from services.hardware.drivers.signatures import swap_label
from services.hardware.drivers.swap_files import Report
from services.hardware.drivers.tree import Tree
from services.hardware.models.states import SwapState, SwapType, SwapWish

SWAPS = "/proc/swaps"
# Switching off reads everything back from the disk.
_TIMEOUT = 600.0


class LinuxSwapDriver:
    """One change at a time: switching swap on and off is not for several threads."""

    def __init__(self) -> None:
        self._tree = Tree()
        self._lock = threading.Lock()
        self._seen: dict[str, SwapEntry] = {}
        self._watch: ProcWatch | None = None

    def unsupported(self) -> str:
        """As the Protocol says."""
        if not os.path.exists(SWAPS):
            return "the kernel was built without swap"
        if os.geteuid() != 0:
            return "swap needs root: run the daemon as root"
        missing = [program for program in ("mkswap", "swapon", "swapoff") if shutil.which(program) is None]
        return f"{' and '.join(missing)} not found: install util-linux" if missing else ""

    def read(self, paths: Sequence[str]) -> Mapping[str, SwapState | ControlError | None]:
        """As the Protocol says."""
        active = self._active()
        found: dict[str, SwapState | ControlError | None] = {}
        for path in paths:
            try:
                found[path] = self._state(path, active)
            except ControlError as error:
                found[path] = error
        return found

    def present(self) -> Sequence[str]:
        """As the Protocol says."""
        return list(self._active())

    def set_up(self, wish: SwapWish, report: Report) -> str:
        """As the Protocol says."""
        with self._lock:
            state = self._state(wish.path, self._active())
            if wish.type is SwapType.FILE:
                done = self._prepare_file(wish, state, report)
            elif wish.type is SwapType.ZRAM:
                done = self._prepare_zram(wish, state)
            else:
                done = []
                self._check_partition(wish.path)
            state = self._state(wish.path, self._active())
            active = state is not None and state.active
            if active and (not wish.active or not _has_priority(wish, state)):
                _off(self._device(wish.path))
                done.append("switched off")
                active = False
            if wish.active and not active:
                _on(self._device(wish.path), wish.priority)
                done = [*(step for step in done if step != "switched off"), "switched on"]
            return ", ".join(done)

    def remove(self, path: str) -> bool:
        """As the Protocol says."""
        with self._lock:
            state = self._state(path, self._active())
            if state is None:
                return False
            if state.active:
                _off(self._device(path))
            if state.type is SwapType.ZRAM:
                zram.reset(self._tree, path)
            elif state.type is SwapType.FILE and swap_files.is_ours(path):
                os.unlink(path)
            return True

    def watch(self, emit: Emit) -> None:
        """As the Protocol says. Partitions named by a tag are not told by it: then everything may have changed."""

        def changed(text: str) -> None:
            now = {entry.path: entry for entry in swaps(text)}
            before, self._seen = self._seen, now
            different = [
                path for path in {*before, *now} if _settings(before.get(path)) != _settings(now.get(path))
            ]
            if different:
                emit(() if any(path.startswith("/dev/") for path in different) else different)

        self._watch = ProcWatch(SWAPS, changed)

    def close(self) -> None:
        """As the Protocol says."""
        if self._watch is not None:
            self._watch.close()

    def _active(self) -> dict[str, SwapEntry]:
        return {entry.path: entry for entry in swaps(self._tree.text(SWAPS) or "")}

    def _device(self, path: str) -> str:
        device = sources.resolve(path)
        if device is None:
            raise HostUnavailable(
                f"{path} is not there", retry_after=10, next_step="plug it in or correct the path"
            )
        return device

    def _state(self, path: str, active: Mapping[str, SwapEntry]) -> SwapState | None:
        entry = active.get(sources.resolve(path) or path)
        priority = entry.priority if entry is not None and entry.priority >= 0 else None
        if zram.is_zram(path):
            device = zram.read(self._tree, path)
            if device is None:
                return None
            return SwapState(path, SwapType.ZRAM, device.size, entry is not None, priority, device.algorithm)
        if path.startswith("/dev/") or sources.tag(path):
            return None if entry is None else SwapState(path, SwapType.PARTITION, entry.size, True, priority)
        found = swap_files.size_and_label(path)
        if found is None or (entry is None and found[1] != swap_files.LABEL):
            return None
        return SwapState(path, SwapType.FILE, found[0], entry is not None, priority)

    def _prepare_file(self, wish: SwapWish, state: SwapState | None, report: Report) -> list[str]:
        if wish.size is None or (state is not None and state.size == wish.size):
            return []
        if state is not None:
            if not swap_files.is_ours(wish.path):
                raise WrongState(
                    f"{wish.path} has {state.size} bytes and was not made by this program, so it is not resized",
                    next_step="declare its size as it is, or remove it",
                )
            if state.active:
                _off(wish.path)
        swap_files.make(wish.path, wish.size, report)
        return ["made" if state is None else "resized"]

    def _prepare_zram(self, wish: SwapWish, state: SwapState | None) -> list[str]:
        if state is not None:
            if state.size == wish.size and wish.algorithm in (None, state.algorithm):
                return []
            zram.check(self._tree, wish.path, wish.algorithm)
            if state.active:
                _off(wish.path)
        zram.set_up(self._tree, wish.path, wish.size or 0, wish.algorithm)
        run(["mkswap", "--", wish.path])
        return ["made" if state is None else "made anew"]

    def _check_partition(self, path: str) -> None:
        device = self._device(path)
        with self._tree.opened(device) as read:
            if swap_label(read) is None:
                raise WrongState(
                    f"{device} holds no swap signature; nothing is formatted here",
                    next_step=f"if nothing on it is needed any more: mkswap {device}",
                )


def _has_priority(wish: SwapWish, state: SwapState | None) -> bool:
    return wish.priority is None or (state is not None and state.priority == wish.priority)


def _settings(entry: SwapEntry | None) -> tuple[int, int] | None:
    """Without how full it is: that changes all the time."""
    return None if entry is None else (entry.size, entry.priority)


def _on(device: str, priority: int | None) -> None:
    chosen = [] if priority is None else ["--priority", str(priority)]
    try:
        run(["swapon", *chosen, "--", device], timeout=_TIMEOUT)
    except CommandFailed as error:
        if "Operation not permitted" in error.stderr:
            raise Forbidden(f"{device}: the daemon may not switch swap on") from error
        step = "swap files need a file system on a disk that supports them (not tmpfs, not NFS, not a btrfs snapshot)"
        raise InvalidRequest(
            f"{device} can't be swapped to: {error.stderr.strip()}", next_step=step
        ) from error


def _off(device: str) -> None:
    try:
        run(["swapoff", "--", device], timeout=_TIMEOUT)
    except CommandFailed as error:
        if "Cannot allocate memory" in error.stderr:
            raise WrongState(
                f"{device} can't be switched off: what is in it does not fit into memory",
                next_step="stop something that uses much memory, or add other swap first",
            ) from error
        raise
