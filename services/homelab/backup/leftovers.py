"""What runs that were killed left behind: containers that stand still, and copies of disks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import structlog

from common.errors import ControlError
from services.homelab.backup.hooks import Hooks
from services.homelab.backup.sources import Sources
from services.homelab.drivers.base import Containers

log = structlog.get_logger()


class Leftovers:
    """`journals` holds one of each job; `alone` keeps a job from running meanwhile, and is False where it does."""

    def __init__(
        self,
        containers: Containers,
        sources: Sources,
        journals: Path,
        alone: Callable[[str], AbstractContextManager[bool]],
    ) -> None:
        self._containers = containers
        self._sources = sources
        self._journals = journals
        self._alone = alone

    def undo(self) -> None:
        """Lets containers go on and deletes copies. What fails is told, and tried again by the next call."""
        for journal in self._journals.glob("*.json"):
            with self._alone(journal.stem) as mine:
                if mine:
                    self._let_go(journal)
        for name in self._sources.copied():
            with self._alone(name) as mine:
                if mine:
                    self._sources.forget_copies(name)

    def _let_go(self, journal: Path) -> None:
        try:
            Hooks(self._containers, journal).recover()
        except ControlError as error:
            log.warning(
                "containers that were held for a backup stand still", job=journal.stem, reason=str(error)
            )
