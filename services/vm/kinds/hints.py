"""Hints for a kind out of the driver's events: part of each kind's handler."""

from __future__ import annotations

from common.manager import Emit
from services.vm.drivers.base import Cancel, VmDriver
from services.vm.models import Event, Subject


class Hints:
    """Subscribes once and tells the names of one subject."""

    def __init__(self, driver: VmDriver, subject: Subject) -> None:
        self._driver = driver
        self._subject = subject
        self._cancel: Cancel | None = None

    def start(self, emit: Emit) -> None:
        """From now on."""

        def listener(event: Event) -> None:
            if not event.name:
                emit(())
            elif event.subject is self._subject:
                emit((event.name,))

        self._cancel = self._driver.subscribe(listener)

    def stop(self) -> None:
        """No more."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
