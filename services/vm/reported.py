"""How far a long action on a machine is."""

from __future__ import annotations

import threading
from collections.abc import Callable

from common.errors import ControlError
from services.vm.drivers.base import VmDriver

# How often it is asked, in seconds.
_POLL = 0.5


class Reported:
    """Tells how far a machine's job is, from a thread, while the block runs."""

    def __init__(self, driver: VmDriver, name: str, report: Callable[[int | None], None]) -> None:
        self._driver, self._name, self._report = driver, name, report
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"job-{name}", daemon=True)

    def __enter__(self) -> None:
        self._report(None)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_POLL):
            try:
                percent = self._driver.machines.job_percent(self._name)
            except ControlError:
                continue  # the action itself tells what is wrong
            if percent is not None:
                self._report(percent)
