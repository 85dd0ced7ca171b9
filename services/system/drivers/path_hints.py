"""Tells when something at one of many paths changes, by inotify on the folders above them.

Every folder on the way from the root to a path is watched, so that renaming or removing any of them is seen;
where one is missing, the folder above waits for it. Not seen: what happens above the target of a symbolic link
on the way, mounts, and changes that other machines make on a network file system. The resync finds those.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from common import inotify
from common.errors import HostUnavailable
from common.inotify import Event, Inotify
from common.manager import Emit
from services.system.drivers.root import Folders, folders

log = structlog.get_logger()

_ENTRIES = inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED_FROM | inotify.IN_MOVED_TO
_ITSELF = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_UNMOUNT
_MASK = (
    _ENTRIES | _ITSELF | inotify.IN_MODIFY | inotify.IN_CLOSE_WRITE | inotify.IN_ATTRIB | inotify.IN_ONLYDIR
)
_ROOT_RETRY = 500
_STARVED_RETRY = 30_000
# More wake-ups than this within a window (in seconds), and the events are gathered for a moment.
_WAKES, _WINDOW, _REST = 100, 0.1, 0.01


class _Folder:
    """A folder on the way to held paths, whether it exists or not."""

    __slots__ = ("above", "below", "keys", "name", "path", "watch")

    def __init__(self, path: str, above: _Folder | None) -> None:
        self.path = path  # from the root, without a trailing slash
        self.name = path.rpartition("/")[2]
        self.above = above
        self.below: dict[str, _Folder] = {}
        self.keys: set[str] = set()  # names held in it
        self.watch: int | None = None

    def subtree(self) -> Iterator[_Folder]:
        yield self
        for folder in self.below.values():
            yield from folder.subtree()

    def held(self) -> Iterator[str]:
        for folder in self.subtree():
            for name in folder.keys:
                yield f"{folder.path}/{name}"


class PathHints:
    """Emits the held paths that may have changed, a batch a wake-up; one thread."""

    def __init__(self, root: Path, emit: Emit) -> None:
        self._root_path = root
        self._emit = emit
        self._lock = threading.Lock()
        self._top = _Folder("", None)
        self._folders: dict[str, _Folder] = {"": self._top}
        self._watches: dict[int, set[_Folder]] = {}
        # Folders that got no watch because the kernel's limit was reached.
        self._starved: set[_Folder] = set()
        self._inotify = Inotify()
        self._closing = False
        self._window, self._wakes = 0.0, 0
        self._rootless = ""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="file-hints", daemon=True)
        self._thread.start()

    @property
    def exhausted(self) -> bool:
        """Whether the kernel's limit of watches was reached: some paths are then only seen by the resync."""
        return bool(self._starved)

    def hold(self, keys: Sequence[str]) -> None:
        """Changes of these paths are told from now on."""
        with self._lock:
            fresh: list[_Folder] = []
            for key in keys:
                path, _, name = key.rpartition("/")
                folder = self._folders.get(path)
                if folder is None:
                    folder = self._add(path, fresh)
                folder.keys.add(name)
            if self._top.watch is None:
                self._rearm(self._top)
            else:
                self._arm_all(fresh)
            if self._patience() is not None:
                os.eventfd_write(self._wake, 1)

    def drop(self, keys: Sequence[str]) -> None:
        """Changes of these paths are of no interest any more."""
        with self._lock:
            for key in keys:
                path, _, name = key.rpartition("/")
                folder = self._folders.get(path)
                if folder is None:
                    continue
                folder.keys.discard(name)
                while folder.above is not None and not folder.keys and not folder.below:
                    self._disarm(folder)
                    del self._folders[folder.path]
                    del folder.above.below[folder.name]
                    folder = folder.above

    def close(self) -> None:
        """Ends the thread and all watches."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._inotify.close()
        os.close(self._wake)

    def _add(self, path: str, fresh: list[_Folder]) -> _Folder:
        """The folder's node; nodes above it come first in `fresh`."""
        known = self._folders.get(path)
        if known is not None:
            return known
        above = self._add(path.rpartition("/")[0], fresh)
        folder = self._folders[path] = _Folder(path, above)
        above.below[folder.name] = folder
        fresh.append(folder)
        return folder

    def _arm_all(self, nodes: Sequence[_Folder]) -> None:
        try:
            with folders(self._root_path) as opened:
                for folder in nodes:
                    self._arm(folder, opened)
        except HostUnavailable as error:
            if self._rootless != error.message:
                log.warning("no hints about files until the root is back", cause=error.message)
            self._rootless = error.message
        else:
            self._rootless = ""

    def _arm(self, folder: _Folder, opened: Folders) -> None:
        """Watches the folder if it exists. The one above is watched already, and tells when it comes."""
        if folder.above is not None and folder.above.watch is None:
            return
        try:
            descriptor = opened.open(folder.path)
            watch = self._inotify.add(f"/proc/self/fd/{descriptor}", _MASK)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._starve(folder)
            return
        self._starved.discard(folder)
        folder.watch = watch
        self._watches.setdefault(watch, set()).add(folder)

    def _starve(self, folder: _Folder) -> None:
        if not self._starved:
            log.warning(
                "out of inotify watches: some files are only checked at the resync",
                folder=folder.path or "/",
                next_step="raise fs.inotify.max_user_watches",
            )
        self._starved.add(folder)

    def _disarm(self, folder: _Folder) -> None:
        self._starved.discard(folder)
        if folder.watch is None:
            return
        sharing = self._watches.get(folder.watch)
        if sharing is not None:
            sharing.discard(folder)
            if not sharing:
                del self._watches[folder.watch]
                try:
                    self._inotify.remove(folder.watch)
                except OSError:
                    pass  # the folder is gone, and its watch with it
        folder.watch = None

    def _rearm(self, top: _Folder) -> None:
        """Watches anew whatever now lies at this path and below."""
        nodes = list(top.subtree())
        for folder in nodes:
            self._disarm(folder)
        self._arm_all(nodes)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._inotify.descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(self._patience())]
            if self._wake in ready:
                os.eventfd_read(self._wake)
            if self._closing:
                return
            with self._lock:
                changed = self._sort(self._inotify.read()) if ready else self._retry()
            if changed is None:
                self._emit(())
            elif changed:
                self._emit(tuple(changed))
            self._rest()

    def _rest(self) -> None:
        """Sleeps for a moment where somebody writes without end; each of the first events is told at once."""
        now = time.monotonic()
        if now - self._window > _WINDOW:
            self._window, self._wakes = now, 0
        self._wakes += 1
        if self._wakes > _WAKES:
            time.sleep(_REST)  # what is written meanwhile is told as one

    def _patience(self) -> int | None:
        """Milliseconds after which to look without an event; None: never."""
        if self._top.watch is None and (self._top.below or self._top.keys):
            return _ROOT_RETRY
        return _STARVED_RETRY if self._starved else None

    def _retry(self) -> dict[str, None] | None:
        """Held paths that are watched again."""
        if self._top.watch is None:
            self._rearm(self._top)
            return {} if self._top.watch is None else None
        starved = sorted(self._starved, key=lambda folder: folder.path)
        self._arm_all(starved)
        return {key: None for folder in starved if folder.watch is not None for key in folder.held()}

    def _sort(self, events: Sequence[Event]) -> dict[str, None] | None:
        """Held paths that the events concern; None: events were lost."""
        changed: dict[str, None] = {}
        stale: dict[_Folder, None] = {}
        lost = False
        for event in events:
            if event.mask & inotify.IN_Q_OVERFLOW:
                lost = True
                continue
            for folder in tuple(self._watches.get(event.watch, ())):
                if event.name in folder.keys and event.name:
                    changed[f"{folder.path}/{event.name}"] = None
                if event.mask & _ENTRIES and event.name in folder.below:
                    stale[folder.below[event.name]] = None
                if event.mask & (_ITSELF | inotify.IN_IGNORED):
                    stale[folder] = None
        if lost:
            self._rearm(self._top)
            return None
        for folder in stale:
            self._rearm(folder)
            changed.update(dict.fromkeys(folder.held()))
        return changed
