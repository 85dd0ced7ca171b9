"""How an update ends: what the switch's verdict means for the lock file, and the commit."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from common.errors import ControlError, HostUnavailable, NotFound, RolledBack
from common.failpoints import hit
from services.updater.drivers.base import Outcome, Report, Step, Switched, UpdaterDriver
from services.updater.journal import Journal
from services.updater.models import InputChange, Mode, Phase, Result, Update, changed_text

_NAMED = 4
_CHANGED = "the lock file was changed meanwhile and is left so"


class Settlement:
    """Ends updates. Every step may be repeated: what was done already is not done again."""

    def __init__(self, driver: UpdaterDriver, journal: Journal) -> None:
        self._driver = driver
        self._journal = journal

    def judge(self, update: Update, switched: Switched, report: Report) -> Update:
        """After the switch. Raises RolledBack, and HostUnavailable while nothing is decided."""
        if switched.outcome is Outcome.OPEN:
            raise HostUnavailable(
                f"the switch of update {update.id} is not decided yet: {switched.message or 'it still runs'}",
                retry_after=5.0,
                next_step=f"it is finished by itself; ncc update show {update.id}",
            )
        if switched.outcome is Outcome.CONFIRMED:
            row = replace(update, phase=Phase.COMMITTING, new_generation=switched.generation)
            row = self._journal.save(row)
            hit("updater.confirmed")
            return self.keep(row, report)
        reason = switched.message or "it was not confirmed"
        self._journal.end(self.restore(update, report), Result.ROLLED_BACK, reason)
        raise RolledBack(
            f"the update was rolled back: {reason}", next_step=f"ncc update show {update.id} has the log"
        )

    def keep(self, update: Update, report: Report) -> Update:
        """It holds: the lock file as it shall stay, and its commit."""
        flakes = self._driver.flakes
        old, new = self._journal.locks(update.id)
        warnings = list(update.warnings)
        current = flakes.lock(update.flake)
        if current == old and update.takes_back:
            flakes.install(update.flake, old, new)
            current = new
        if current != new:
            warnings.append(_CHANGED)
        commit = ""
        if update.wants_commit and current == new:
            try:
                commit, warning = flakes.commit(update.flake, message(update))
                if warning:
                    warnings.append(warning)
            except ControlError as error:
                warnings.append(f"the lock file could not be committed: {error}")
        for warning in warnings[len(update.warnings) :]:
            report(Step("done, with a warning", line=warning))
        hit("updater.committed")
        if update.takes_back:
            with contextlib.suppress(NotFound):
                past = self._journal.history.get(update.takes_back)
                taken = f"taken back by {update.id}"
                self._journal.save(replace(past, result=Result.TAKEN_BACK, message=taken))
        update = replace(update, commit=commit, warnings=tuple(warnings))
        return self._journal.end(update, Result.SUCCEEDED, _done(update))

    def restore(self, update: Update, report: Report) -> Update:
        """It does not hold: the old lock file, unless somebody has changed it or the owner wants it kept."""
        if not update.restore_lock and update.phase is Phase.SWITCHING:
            report(Step("the lock file stays as updated"))
            return update
        update = self._journal.save(replace(update, phase=Phase.RESTORING))
        hit("updater.restoring")
        old, new = self._journal.locks(update.id)
        current = self._driver.flakes.lock(update.flake)
        if current == new != old:
            self._driver.flakes.install(update.flake, new, old)
            report(Step("lock file restored", line="the lock file is as it was before the update"))
        elif current != old:
            update = self._journal.save(replace(update, warnings=(*update.warnings, _CHANGED)))
        return update


def inputs_text(found: Sequence[InputChange]) -> str:
    """Names of the first inputs, and how many there are more."""
    names = [change.path for change in found]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def message(update: Update) -> str:
    """For the commit."""
    verb = f"take back {update.takes_back}" if update.takes_back else f"update {inputs_text(update.changes)}"
    return f"flake.lock: {verb}\n\n{changed_text(update.changes)}\n"


def _done(update: Update) -> str:
    if update.takes_back:
        return f"took back {update.takes_back}"
    what = f"updated {inputs_text(update.changes)}"
    if update.mode is Mode.SWITCH:
        return f"{what}; generation {update.new_generation} runs"
    if update.mode is Mode.BOOT:
        return f"{what}; generation {update.new_generation} starts with the next boot"
    return what
