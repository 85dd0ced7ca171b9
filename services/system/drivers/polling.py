"""Hints for what the kernel tells nobody about: a look every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import structlog

from common.errors import ControlError
from common.manager import Emit

log = structlog.get_logger()

SECONDS = 2.0


class Polling:
    """Emits the held keys whose value is another one than at the last look; one thread, asleep in between."""

    def __init__(
        self, look: Callable[[Sequence[str]], Mapping[str, object]], emit: Emit, seconds: float = SECONDS
    ) -> None:
        self._look, self._emit, self._seconds = look, emit, seconds
        self._known: dict[str, object] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="polling", daemon=True)
        self._thread.start()

    def hold(self, keys: Sequence[str]) -> None:
        """Changes from now on are told."""
        with self._lock:
            now = self._look(keys)
            self._known.update({key: now.get(key) for key in keys})

    def drop(self, keys: Sequence[str]) -> None:
        """These are of no interest any more."""
        with self._lock:
            for key in keys:
                self._known.pop(key, None)

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                changed = self._changed()
            except ControlError as error:
                log.debug("can't look for changes", error=str(error))
                continue
            if changed:
                self._emit(changed)

    def _changed(self) -> list[str]:
        with self._lock:
            if not self._known:
                return []
            now = self._look(list(self._known))
            changed = [key for key, value in self._known.items() if now.get(key) != value]
            self._known.update({key: now.get(key) for key in changed})
            return changed
