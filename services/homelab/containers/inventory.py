"""What containers there are, cheaply: one list a pass, and inspections kept until the engine tells of a change."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from services.homelab.drivers.base import Cancel, Engine, EngineEvent, Gap, Json
from services.homelab.inspecting import listed_name

# Images are what their ids say: kept for good, but not without end.
_MOST_IMAGES = 256


@dataclass(frozen=True, slots=True)
class Listed:
    """One pass's list: rows by name, names by id."""

    rows: Mapping[str, Json]
    names: Mapping[str, str]

    def name_of(self, identifier: str) -> str:
        """The container's name; empty: there is none of that id."""
        return self.names.get(identifier, "")


class Inventory:
    """Reads containers of one engine. Any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[object, Json]] = {}
        self._images: dict[str, Json] = {}
        # Counts changes; an inspection that began before one of its container is not kept.
        self._changes = 0
        self._changed: dict[str, int] = {}
        self._all_changed = 0
        self._cancel: Cancel | None = None

    def watch(self) -> None:
        """Listens, so that inspections can be kept."""
        if self._cancel is None:
            self._cancel = self._engine.subscribe(self._listen)

    def close(self) -> None:
        """Listens no more."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def list(self) -> Listed:
        """All that are there now, in one call."""
        rows = {listed_name(row): row for row in self._engine.containers.list()}
        listed = Listed(rows, {str(row.get("Id", "")): name for name, row in rows.items()})
        with self._lock:
            for gone in self._kept.keys() - listed.names.keys():
                del self._kept[gone]
            for gone in self._changed.keys() - listed.names.keys():
                del self._changed[gone]
        return listed

    def inspect(self, row: Json) -> Json | None:
        """The container of a list's row; None: it went meanwhile."""
        identifier, mark = str(row.get("Id", "")), _mark(row)
        with self._lock:
            kept = self._kept.get(identifier)
            before = self._changes
        watched = self._cancel is not None and self._engine.watching()
        if watched and kept is not None and kept[0] == mark:
            return kept[1]
        found = self._engine.containers.inspect(identifier)
        with self._lock:
            if found is None:
                self._kept.pop(identifier, None)
            elif watched and max(self._changed.get(identifier, 0), self._all_changed) <= before:
                self._kept[identifier] = (mark, found)
        return found

    def image(self, identifier: str) -> Json | None:
        """The image of an id; None: it is gone."""
        found = self._images.get(identifier)
        if found is None:
            found = self._engine.images.inspect(identifier)
            if found is not None:
                if len(self._images) >= _MOST_IMAGES:
                    self._images.clear()
                self._images[identifier] = found
        return found

    def _listen(self, event: EngineEvent | Gap) -> None:
        with self._lock:
            if isinstance(event, Gap):
                self._changes += 1
                self._all_changed = self._changes
                self._kept.clear()
                return
            if event.type == "network":
                identifier = event.attributes.get("container", "")
            elif event.type == "container" and not event.action.startswith("exec_"):
                identifier = event.id
            else:
                return
            self._changes += 1
            self._changed[identifier] = self._changes
            self._kept.pop(identifier, None)


def _mark(row: Json) -> object:
    """What a list shows of a container and an event might have failed to tell."""
    status = str(row.get("Status", ""))
    health = status.partition("(")[2]
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    return (row.get("State"), health, tuple(row.get("Names") or ()), tuple(sorted(networks)))
