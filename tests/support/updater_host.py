"""A host in memory with one flake, for tests of updates."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from services.updater.cycle import Cycle
from services.updater.drivers.base import Step
from services.updater.drivers.memory import MemoryFlake, MemoryUpdaterDriver
from services.updater.history import History
from services.updater.holds import Holds
from services.updater.models import Mode, Order

FLAKE = "/etc/nixos"
A, B = "git+file:///a", "git+file:///b"


def revision(number: int) -> str:
    """A commit's hash."""
    return f"{number:040x}"


@dataclass
class Host:
    """A host in memory with one flake that has the inputs a and b, locked and committed; a has an update."""

    driver: MemoryUpdaterDriver
    folder: Path
    steps: list[Step]

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The service as after a restart: all it knows is on disk and on the host."""
        self.history = History(self.folder / "updates")
        self.holds = Holds(self.folder / "holds.json")
        self.cycle = Cycle(self.driver, self.history, self.holds, self.folder / "work")
        self.cancel = threading.Event()

    @property
    def flake(self) -> MemoryFlake:
        return self.driver.flakes.flakes[FLAKE]

    def locked(self, path: str) -> str:
        return next(i.revision for i in self.driver.flakes.inputs(FLAKE) if i.path == path)

    def order(self, mode: Mode = Mode.SWITCH, **fields: object) -> Order:
        return Order(FLAKE, "web", mode=mode, **fields)  # type: ignore[arg-type]

    def report(self, step: Step) -> None:
        self.steps.append(step)

    def run(self, mode: Mode = Mode.SWITCH, **fields: object) -> object:
        return self.cycle.run(self.order(mode, **fields), self.report, self.cancel)


def memory_host(folder: Path) -> Host:
    driver = MemoryUpdaterDriver()
    driver.flakes.sources = {A: [revision(1)], B: [revision(11)]}
    driver.flakes.flakes[FLAKE] = MemoryFlake({"a": A, "b": B, "c": "follows:a"})
    host = Host(driver, folder, [])
    host.run(Mode.LOCK)
    driver.flakes.sources[A].append(revision(2))
    return host
