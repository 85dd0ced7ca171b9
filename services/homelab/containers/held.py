"""Containers that stand still on purpose, while they are backed up: the control loop must not let them go on."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Held:
    """Ids of containers, in memory: whoever is killed forgets them, and the loop sets right what stands still."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    @contextmanager
    def during(self, identifiers: Iterable[str]) -> Iterator[None]:
        """They are held meanwhile; others may hold them, too."""
        names = tuple(identifiers)
        with self._lock:
            self._counts.update(names)
        try:
            yield
        finally:
            with self._lock:
                self._counts -= Counter(names)

    def __contains__(self, identifier: str) -> bool:
        with self._lock:
            return self._counts[identifier] > 0
