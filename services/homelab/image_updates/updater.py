"""Asks registries by a schedule, and brings newer images in where a container's policy says so."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from common.cron import following
from common.errors import ControlError, InvalidRequest, NotFound, Violation, WrongState
from common.scheduler import Work
from services.homelab.containers.image_names import short
from services.homelab.drivers.base import Engine, Json, Report
from services.homelab.image_updates.checking import check
from services.homelab.image_updates.records import Update, UpdateRecords
from services.homelab.models import Declared, ImageUpdate, UpdatePolicy, Updates

log = structlog.get_logger()

# Seconds until the next try where nobody could tell what is declared.
_RETRY = 600.0
# Seconds that the loop gets for one container: its health check may be slow.
_PATIENCE = 1_200.0
_NO_UPDATES = Updates()


def _quiet(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


class Updater:
    """For one engine. `expression` (cron) says when registries are asked; `clock` gives seconds since the epoch.

    It fetches, and says that a container is to be replaced; the control loop replaces it, and takes it back where the
    new one isn't well.
    """

    def __init__(
        self,
        engine: Engine,
        declared: Callable[[], Declared],
        records: UpdateRecords,
        expression: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._declared = declared
        self._records = records
        self._expression = expression
        self.clock = clock
        self._ended = threading.Event()
        self._not_before = 0.0
        # A look at registries at a time.
        self._lock = threading.Lock()

    def start(self) -> None:
        """A service that never asked begins with the next time of its schedule."""
        if not self._records.checked:
            self._records.set_checked(self.clock())

    def close(self) -> None:
        """Ends what runs."""
        self._ended.set()

    # The schedule

    def due(self) -> Iterator[Work]:
        """What should be done now."""
        if self.next_time() <= self.clock():
            yield Work(self._scheduled)

    def next_time(self) -> float:
        """When registries are asked next."""
        if not self._records.checked:
            return math.inf
        return max(self._not_before, following(self._expression, self._records.checked, None))

    def _scheduled(self) -> None:
        try:
            found = self.check()
        except ControlError as error:
            self._not_before = self.clock() + _RETRY
            log.warning("image updates could not be looked for", reason=str(error))
            return
        outdated = [one.container for one in found if one.outdated]
        log.info("looked for image updates", checked=len(found), outdated=outdated)

    def check(self) -> Sequence[ImageUpdate]:
        """Asks for all whose policy wants it, and begins the updates of those that are to be automatic."""
        declared = self._declared()
        wanted = {name: one for name, one in declared.updates.items() if one.policy is not UpdatePolicy.NEVER}
        with self._lock:
            self._records.keep(declared.containers)
            found = self._look(self._inspected(wanted), wanted, _quiet, self._ended)
            self._records.set_checked(self.clock())
            for one in found:
                if one.outdated and not one.refused and one.policy is UpdatePolicy.AUTO:
                    try:
                        self._begin(one, wanted[one.container], _quiet, self._ended)
                    except ControlError as error:
                        log.warning("an update was not fetched", container=one.container, reason=str(error))
        return found

    # By hand

    def look(
        self, inspected: Sequence[Json], report: Report, cancel: threading.Event
    ) -> Sequence[ImageUpdate]:
        """What registries have for these containers; nothing is changed."""
        try:
            updates = self._declared().updates
        except ControlError:
            updates = {}  # asked without credentials
        return self._look(inspected, updates, report, cancel)

    def update(self, names: Sequence[str], report: Report, cancel: threading.Event) -> Sequence[ImageUpdate]:
        """Updates these containers now, whatever their policy and whatever was refused before; waits for the loop.

        Without names: all whose policy is not NEVER. InvalidRequest for one that is not declared.
        """
        declared = self._declared().updates
        wanted = {name: declared.get(name, _NO_UPDATES) for name in names} or {
            name: one for name, one in declared.items() if one.policy is not UpdatePolicy.NEVER
        }
        strangers = sorted(wanted.keys() - declared.keys())
        if strangers:
            raise InvalidRequest(
                "only what is declared is updated",
                [Violation("containers", f"{name} is not declared") for name in strangers],
                next_step="declare it: ncc homelab export NAME --as manifest writes a manifest of what runs",
            )
        with self._lock:
            found = self._look(self._inspected(wanted), wanted, report, cancel)
            missing = sorted(set(names) - {one.container for one in found})
            if missing:
                raise NotFound(f"there is no container {missing[0]!r}", next_step="ncc homelab lists them")
            begun = [
                one.container
                for one in found
                if one.outdated and self._begin(one, wanted[one.container], report, cancel)
            ]
        for name in begun:
            report(f"waits until {name} was replaced", None)
            if not self._records.wait(name, time.monotonic() + _PATIENCE, cancel):
                raise WrongState(
                    f"{name} is not replaced yet: its new image was fetched, and the control loop does the rest",
                    next_step=f"see what holds it up: ncc get Container {name}",
                )
        return self._look(self._inspected(wanted), wanted, report, cancel)

    # Inside

    def _look(
        self,
        inspected: Sequence[Json],
        updates: Mapping[str, Updates],
        report: Report,
        cancel: threading.Event,
    ) -> Sequence[ImageUpdate]:
        credentials = {
            name: Path(one.credentials_file) for name, one in updates.items() if one.credentials_file
        }
        found = []
        for one in check(self._engine, inspected, report, cancel, credentials):
            known = self._records.get(one.container)
            refused = known.refused if known is not None and known.digest == one.available else ""
            policy = updates.get(one.container, _NO_UPDATES).policy
            found.append(replace(one, policy=policy, refused=refused))
        return found

    def _begin(self, one: ImageUpdate, updates: Updates, report: Report, cancel: threading.Event) -> bool:
        """Fetches what the tag leads to; False: the container runs just that."""
        report(f"fetches {one.image}", None)
        images = self._engine.images
        credentials = Path(updates.credentials_file) if updates.credentials_file else None
        images.pull(one.image, report, credentials_file=credentials, cancel=cancel)
        image, container = images.inspect(one.image), self._engine.containers.inspect(one.container)
        if image is None or container is None:
            return False
        old, new = str(container.get("Image", "")), str(image.get("Id", ""))
        if old == new:
            self._records.done(one.container)
            return False
        log.info("a container is updated", container=one.container, image=one.image, digest=one.available)
        self._records.begin(one.container, Update(short(one.image), one.available, old, new))
        return True

    def _inspected(self, names: Mapping[str, Updates]) -> Sequence[Json]:
        found = (self._engine.containers.inspect(name) for name in names)
        return [one for one in found if one is not None]
