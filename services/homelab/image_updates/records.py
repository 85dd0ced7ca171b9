"""Which containers are on their way to a newer image, and which newer images were no good; kept across restarts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from common.whole_file import write_whole

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Update:
    """One container's. `image` is the reference, `old` and `new` are images' ids, `digest` is the registry's.

    `refused`: why the container went back to the old image; empty: it is on its way to the new one.
    """

    image: str
    digest: str
    old: str
    new: str
    refused: str = ""


class UpdateRecords:
    """In one JSON file, replaced as a whole. Any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._checked, self._updates = _read(path)
        self._listeners: list[Callable[[str], None]] = []

    @property
    def checked(self) -> float:
        """When registries were last asked, in seconds since the epoch; 0: never."""
        return self._checked

    def set_checked(self, moment: float) -> None:
        """Remembers it."""
        with self._changed:
            self._checked = moment
            self._write()

    def get(self, name: str) -> Update | None:
        """Of a container, under way or refused."""
        with self._changed:
            return self._updates.get(name)

    def pending(self, name: str, image: str, image_id: str) -> Update | None:
        """What a container that was made from `image`, and runs `image_id`, is to be replaced for."""
        found = self.get(name)
        if found is None or found.refused or (found.image, found.old) != (image, image_id):
            return None
        return found

    def begin(self, name: str, update: Update) -> None:
        """It is on its way."""
        self._set(name, update)

    def refuse(self, name: str, reason: str) -> None:
        """The new image was no good for it."""
        found = self.get(name)
        if found is not None:
            self._set(name, replace(found, refused=reason))

    def done(self, name: str) -> None:
        """Nothing is under way any longer."""
        self._set(name, None)

    def keep(self, names: Collection[str]) -> None:
        """Forgets all others."""
        with self._changed:
            for gone in self._updates.keys() - set(names):
                del self._updates[gone]
            self._write()

    def wait(self, name: str, deadline: float, cancel: threading.Event) -> bool:
        """Until nothing is under way for it, or `deadline` (monotonic) has come: False."""
        with self._changed:
            while (found := self._updates.get(name)) is not None and not found.refused:
                left = deadline - time.monotonic()
                if left <= 0 or cancel.is_set():
                    return False
                self._changed.wait(min(left, 1.0))  # to look at `cancel`
        return True

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Tells the names of containers that are to be looked at; what is given back ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _set(self, name: str, update: Update | None) -> None:
        with self._changed:
            if self._updates.get(name) == update:
                return
            if update is None:
                del self._updates[name]
            else:
                self._updates[name] = update
            self._write()
            self._changed.notify_all()
        for listener in tuple(self._listeners):
            listener(name)

    def _write(self) -> None:
        value = {"checked": self._checked, "updates": {k: asdict(v) for k, v in self._updates.items()}}
        write_whole(self._path, json.dumps(value).encode())


def _read(path: Path) -> tuple[float, dict[str, Update]]:
    """Nothing, where it can't be read: then registries are asked again."""
    try:
        value: Mapping[str, Any] = json.loads(path.read_text())
        return float(value["checked"]), {k: Update(**v) for k, v in value["updates"].items()}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("the record of image updates can't be read", path=str(path), error=str(error))
    return 0.0, {}
