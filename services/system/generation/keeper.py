"""Looks after the open window: probes the new system, says the verdict, and sees to it that a guard lives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

from common.errors import Cancelled, ControlError
from services.system.drivers import nixos_probes
from services.system.drivers.guard_control import Windows
from services.system.generation.models import Confirm, Mode, Probe, State, Window, names

log = structlog.get_logger()

# Seconds between two looks at the journal; a guard is looked for less often.
_LOOK = 0.01
_GUARD_EVERY = 25


class Keeper:
    """One thread a window, independent of whoever asked for the switch."""

    def __init__(
        self, windows: Windows, failed_units: Callable[[], Sequence[str]], unit_active: Callable[[str], bool]
    ) -> None:
        self._windows, self._failed_units, self._unit_active = windows, failed_units, unit_active
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def keep(self, window: Window) -> None:
        """Starts looking after it."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._run, args=(window,), name="window", daemon=True)
        self._threads.append(thread)
        thread.start()

    def probe(self, probes: Sequence[Probe], stop: Callable[[], bool]) -> list[str]:
        """Runs probes against the system as it is now; gives a sentence for each that failed."""
        return nixos_probes.run(probes, self._unit_active, stop)

    def close(self) -> None:
        """Ends; windows and guards go on."""
        self._closing.set()
        for thread in self._threads:
            thread.join(5)

    def _run(self, window: Window) -> None:
        try:
            self._follow(window)
        except ControlError as error:
            log.error("the window is no longer looked after; its guard undoes it", error=str(error))

    def _follow(self, window: Window) -> None:
        probed, looks = window.mode is Mode.BOOT, 0
        while not self._closing.is_set():
            now = self._windows.last()
            if now is None or now.id != window.id or now.state.ended:
                return
            if not now.guarded and looks % _GUARD_EVERY == 0:
                again = self._windows.last()
                if again is None or again.id != window.id or again.state.ended:
                    return
                log.warning("the guard of a switch has gone; another one finishes it", window=window.id)
                self._windows.start_guard(window.id)
            if now.state is State.WAITING and not probed:
                probed = True
                self._probe(now)
            looks += 1
            self._closing.wait(_LOOK)

    def _probe(self, window: Window) -> None:
        def stop() -> bool:
            return self._closing.is_set() or self._windows.decided(window)

        try:
            failures = self._new_failures(window)
            if not failures:
                failures = nixos_probes.run(window.probes, self._unit_active, stop)
                failures += self._new_failures(window)
        except Cancelled:
            return
        if failures:
            self._windows.decide(window, commit=False, reason="; ".join(failures[:5]))
        elif window.confirm is Confirm.AUTO:
            self._windows.decide(window, commit=True, reason="all probes passed")

    def _new_failures(self, window: Window) -> list[str]:
        if not window.no_new_failed_units:
            return []
        try:
            failed = self._failed_units()
        except ControlError as error:
            # Exit code 4: units failed, and whether they had before can't be told.
            if window.exit_code == 4:
                return [f"units failed, and it can't be told which: {error.message}"]
            return []
        new = sorted(set(failed) - set(window.baseline or ()))
        return [f"units failed that had not before: {names(new)}"] if new else []
