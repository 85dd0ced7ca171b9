"""Tells when a profile's link moves, by inotify on its folder; one thread."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from common import inotify
from common.inotify import Inotify

log = structlog.get_logger()

_MASK = (
    inotify.IN_CREATE
    | inotify.IN_DELETE
    | inotify.IN_MOVED_FROM
    | inotify.IN_MOVED_TO
    | inotify.IN_ATTRIB
    | inotify.IN_DELETE_SELF
    | inotify.IN_MOVE_SELF
    | inotify.IN_ONLYDIR
)
_ITSELF = inotify.IN_DELETE_SELF | inotify.IN_MOVE_SELF | inotify.IN_IGNORED
# Milliseconds after which to look for a folder that is gone.
_RETRY = 1_000


class ProfileWatch:
    """Calls `changed` from its thread whenever `name` in `folder` may be another one."""

    def __init__(self, folder: Path, name: str, changed: Callable[[], None]) -> None:
        self._folder, self._name, self._changed = folder, name, changed
        self._inotify = Inotify()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._closing = False
        self._armed = self._arm()
        self._thread = threading.Thread(target=self._run, name="profile-hints", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and the watch."""
        self._closing = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._inotify.close()
        os.close(self._wake)

    def _arm(self) -> bool:
        try:
            self._inotify.add(str(self._folder), _MASK)
        except OSError as error:
            log.debug("the profile's folder can't be watched", folder=str(self._folder), error=str(error))
            return False
        return True

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._inotify.descriptor, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll(None if self._armed else _RETRY)]
            if self._closing:
                return
            if not self._armed:
                self._armed = self._arm()
                if self._armed:
                    self._changed()
            if self._inotify.descriptor not in ready:
                continue
            events = self._inotify.read()
            if any(event.mask & _ITSELF for event in events):
                self._armed = self._arm()
                self._changed()
            elif any(event.name == self._name or event.mask & inotify.IN_Q_OVERFLOW for event in events):
                self._changed()
