"""Hints for a kind out of the engine's events: part of each kind's handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from common.manager import Emit
from services.homelab.drivers.base import Cancel, Engine, EngineEvent, Gap

# The names an event is about; None: all may have changed.
NamesOf = Callable[[EngineEvent], Sequence[str] | None]


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


def of_type(sort: str) -> NamesOf:
    """Names of objects of one type of the engine's."""
    return lambda event: (event.name,) if event.type == sort else ()
