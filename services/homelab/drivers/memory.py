"""A container engine in memory: keeps what it is told as docker's API would tell it. For tests, and to try things out.

Nothing runs in its containers: a started one lives until it is stopped, or until `end` says that its program did.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from services.homelab.drivers.base import (
    EVENTS,
    PAUSE,
    Cancel,
    EngineEvent,
    EngineInfo,
    Gap,
    Json,
    Listener,
)
from services.homelab.drivers.memory_containers import MemoryContainers
from services.homelab.drivers.memory_objects import MemoryImages, MemoryNetworks, MemoryVolumes

ADDRESS = "memory:"


class MemoryEngine:
    """See Engine."""

    name = "memory"
    capabilities = (EVENTS, PAUSE)

    def __init__(self) -> None:
        # Held while anything is read or changed; listeners are told without it.
        lock = threading.RLock()
        self._listeners: list[Listener] = []
        self.images = MemoryImages(lock, self.tell)
        self.networks = MemoryNetworks(lock, self.tell)
        self.volumes = MemoryVolumes(lock, self.tell)
        self.containers = MemoryContainers(lock, self.tell, self.images, self.networks, self.volumes)

    def error(self) -> str:
        """See Engine."""
        return ""

    def info(self) -> EngineInfo:
        """See Engine."""
        return EngineInfo("memory", "1.0.0", "1.41", ADDRESS, "memory", "2")

    def events(self, since: datetime | None, stop: threading.Event) -> Iterator[EngineEvent]:
        """See Engine."""
        found: list[EngineEvent] = []
        ready = threading.Event()

        def listener(event: EngineEvent | Gap) -> None:
            if isinstance(event, EngineEvent):
                found.append(event)
                ready.set()

        cancel = self.subscribe(listener)
        try:
            while not stop.is_set():
                ready.wait(0.1)  # to look at `stop`
                ready.clear()
                while found:
                    yield found.pop(0)
        finally:
            cancel()

    def subscribe(self, listener: Listener) -> Cancel:
        """See Engine."""
        self._listeners.append(listener)

        def cancel() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return cancel

    def watching(self) -> bool:
        """See Engine."""
        return True

    def disk_usage(self) -> Json:
        """See Engine."""
        return {"Images": [], "Containers": [], "Volumes": []}

    def close(self) -> None:
        """See Engine."""
        self._listeners.clear()

    def tell(self, sort: str, action: str, identifier: str, name: str, **attributes: str) -> None:
        """Tells all listeners of an event."""
        event = EngineEvent(datetime.now(UTC), sort, action, identifier, name, {"name": name, **attributes})
        for listener in tuple(self._listeners):
            listener(event)
