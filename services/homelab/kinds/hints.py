"""Hints for a kind out of the engine's events: part of each kind's handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.manager import Emit
from services.homelab.drivers.base import Cancel, Engine, EngineEvent, Gap

# The names an event is about; None: all may have changed.
NamesOf = Callable[[EngineEvent], Sequence[str] | None]

# What a container does by itself, or others to it, while it is as it should be.
_USUAL = ("exec_", "top", "attach", "resize", "export")
_HEALTH = "health_status"


class Hints:
    """Subscribes once and tells the names of one sort of object."""

    def __init__(self, engine: Engine, names_of: NamesOf) -> None:
        self._engine = engine
        self._names_of = names_of
        self._cancel: Cancel | None = None

    def start(self, emit: Emit) -> None:
        """From now on."""

        def listener(event: EngineEvent | Gap) -> None:
            names = None if isinstance(event, Gap) else self._names_of(event)
            if names is None:
                emit(())
            elif names:
                emit(tuple(names))

        self._cancel = self._engine.subscribe(listener)

    def stop(self) -> None:
        """No more."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None


class News:
    """Which events of containers tell of a change. Health does only when it is another than before."""

    def __init__(self) -> None:
        # What was last told, by id.
        self._health: dict[str, str] = {}

    def __call__(self, event: EngineEvent) -> bool:
        """Whether it does."""
        if event.type != "container" or event.action.startswith(_USUAL):
            return False
        if event.action.startswith(_HEALTH):
            before = self._health.get(event.id)
            self._health[event.id] = event.action
            return event.action != before
        if event.action in ("destroy", "remove"):
            self._health.pop(event.id, None)
        return True


def of_type(sort: str) -> NamesOf:
    """Names of objects of one type of the engine's."""
    return lambda event: (event.name,) if event.type == sort else ()
