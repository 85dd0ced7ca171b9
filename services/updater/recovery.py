"""Finishes updates that died: the journal says where they were, the host what became of them."""

from __future__ import annotations

import contextlib

import structlog

from common.errors import Conflict, ControlError, HostUnavailable, NotFound, RolledBack, WrongState
from services.updater.drivers.base import Outcome, Report, UpdaterDriver
from services.updater.journal import Journal
from services.updater.models import Phase, Result, Update
from services.updater.settlement import Settlement

log = structlog.get_logger()

_DIED = "the daemon ended while it ran"


class Recovery:
    """Looks after rows that are open and that nobody is at."""

    def __init__(self, driver: UpdaterDriver, journal: Journal, settlement: Settlement) -> None:
        self._driver = driver
        self._journal = journal
        self._settlement = settlement

    def recover(self) -> bool:
        """Finishes what can be finished; False: something has to wait, so come again."""
        done = True
        for update in self._journal.history.open():
            try:
                with self._driver.flakes.owned(update.flake):
                    # Read again: it may have ended just before we got the flake.
                    found = self._journal.history.get(update.id)
                    if found.phase is not Phase.DONE:
                        done &= self._finished(found)
            except NotFound as error:
                self._journal.end(update, Result.ABORTED, f"it was interrupted; {error.message}")
            except (Conflict, HostUnavailable, WrongState) as error:
                log.debug("an update waits to be finished", update=update.id, reason=error.message)
                done = False
            except ControlError as error:
                self._journal.history.note(update.id, f"could not be finished: {error}")
                text = f"it was interrupted and could not be finished: {error}"
                self._journal.end(update, Result.FAILED, text)
        return done

    def _finished(self, update: Update) -> bool:
        report = self._journal.noted(update.id, lambda step: None)
        self._journal.history.note(update.id, f"found unfinished ({update.phase.lower()})")
        self._journal.drop_copy(update.id)
        if update.phase is Phase.PREPARING:
            self._journal.end(update, Result.ABORTED, _DIED)
        elif update.phase is Phase.COMMITTING:
            self._settlement.keep(update, report)
        elif update.phase is Phase.SWITCHING:
            return self._judged(update, report)
        else:
            self._journal.end(self._settlement.restore(update, report), Result.ABORTED, _DIED)
        return True

    def _judged(self, update: Update, report: Report) -> bool:
        toplevel = update.impact.toplevel if update.impact else ""
        found = self._driver.system.outcome(update.mark, toplevel)
        if found.outcome is Outcome.OPEN:
            return False
        if found.outcome is Outcome.UNKNOWN:
            row = self._settlement.restore(update, report)
            self._journal.end(row, Result.ABORTED, "the daemon ended before the switch began")
            return True
        with contextlib.suppress(RolledBack):
            self._settlement.judge(update, found, report)
        return True
