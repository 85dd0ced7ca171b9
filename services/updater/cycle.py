"""One update from beginning to end; the journal has each step before it is taken.

The lock file is installed after everything was built and checked, and before the switch; the switch's verdict decides
whether it stays.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.errors import Cancelled, Conflict, ControlError, HostUnavailable, NotFound, WrongState
from common.failpoints import hit
from services.updater.drivers.base import Candidate, Outcome, Report, Step, Switched, UpdaterDriver
from services.updater.history import History
from services.updater.holds import Holds
from services.updater.journal import Journal
from services.updater.lock_changes import changes
from services.updater.models import (
    Check,
    Impact,
    InputChange,
    Mode,
    Order,
    Phase,
    Plan,
    Result,
    Update,
    Validation,
    changed_text,
)
from services.updater.recovery import Recovery
from services.updater.settlement import Settlement, inputs_text
from services.updater.targets import nested_pins, targets


@dataclass(frozen=True, slots=True)
class _Prepared:
    candidate: Candidate
    plan: Plan


class Cycle:
    """Updates of one host's flakes."""

    def __init__(self, driver: UpdaterDriver, history: History, holds: Holds, work: Path) -> None:
        self._driver = driver
        self._history = history
        self._holds = holds
        self._work = work
        self._journal = Journal(history)
        self._settlement = Settlement(driver, self._journal)
        self._recovery = Recovery(driver, self._journal, self._settlement)

    def check(self, order: Order, build: bool, report: Report, cancel: threading.Event) -> Plan:
        """What the update would change; changes nothing."""
        system = self._driver.system
        with self._scratch() as folder:
            prepared = self._prepare(order, folder, report, cancel)
            if not build or not prepared.plan.changes:
                return prepared.plan
            built = system.build(prepared.candidate.reference, order.configuration, report, cancel)
            return replace(prepared.plan, impact=system.impact(built, False, report, cancel))

    def validate(self, order: Order, report: Report, cancel: threading.Event) -> tuple[Plan, Sequence[Check]]:
        """All that can be found out without switching; a failure is a check that didn't pass."""
        system = self._driver.system
        checks: list[Check] = []
        with self._scratch() as folder:
            prepared = self._prepare(order, folder, report, cancel)
            plan = prepared.plan
            name = "evaluate and build"
            try:
                built = system.build(prepared.candidate.reference, order.configuration, report, cancel)
                checks.append(Check(name, True, built))
                name = "dry-activate"
                plan = replace(plan, impact=system.impact(built, True, report, cancel))
                checks.append(Check(name, True, _activation(plan)))
                name = "probes"
                checks += system.probe(order.probes, report, cancel)
            except (Cancelled, HostUnavailable):
                raise
            except ControlError as error:
                checks.append(Check(name, False, str(error)))
        return plan, checks

    def run(self, order: Order, report: Report, cancel: threading.Event) -> Update:
        """The update, done; its row stands in the history whatever happens.

        Raises RolledBack where the host went back, and what kept the update from being made.
        """
        with self._driver.flakes.owned(order.flake):
            update = self._journal.begin(
                lambda new, now: Update(
                    new,
                    order.flake,
                    order.mode,
                    now,
                    configuration=order.configuration,
                    policy=order.policy,
                    requested_by=order.requested_by,
                    restore_lock=order.restore_lock,
                    wants_commit=order.commit,
                )
            )
            with self._accounted(update.id):
                try:
                    return self._run(update, order, self._journal.noted(update.id, report), cancel)
                finally:
                    self._journal.drop_copy(update.id)

    def take_back(
        self, id: str, requested_by: str, lock_only: bool, report: Report, cancel: threading.Event
    ) -> Update:
        """Goes back to before an update; gives that update."""
        past = self._taken(id)
        with self._driver.flakes.owned(past.flake):
            old, new = self._journal.locks(past.id)
            if self._driver.flakes.lock(past.flake) != new:
                raise Conflict(
                    f"the lock file of {past.flake} is not the one that update {past.id} made",
                    next_step="take back later updates first (ncc update history), or restore it by hand",
                )
            switches = past.mode.switches and not lock_only and past.old_generation > 0
            row = self._journal.begin(
                lambda new, now: Update(
                    new,
                    past.flake,
                    past.mode if switches else Mode.LOCK,
                    now,
                    configuration=past.configuration,
                    requested_by=requested_by,
                    changes=tuple(map(_reversed, past.changes)),
                    old_generation=past.new_generation,
                    new_generation=past.old_generation if switches else 0,
                    takes_back=past.id,
                    wants_commit=bool(past.commit),
                )
            )
            self._journal.keep_locks(row.id, new, old)
            with self._accounted(row.id):
                told = self._journal.noted(row.id, report)
                if switches:
                    system = self._driver.system
                    target = Impact(system.toplevel(past.old_generation))
                    row = replace(row, phase=Phase.SWITCHING, impact=target, mark=system.mark())
                    row = self._journal.save(row)
                    told(Step(f"switching back to generation {past.old_generation}"))
                    number = system.roll_back(past.old_generation, told, cancel)
                    row = replace(row, new_generation=number)
                row = self._journal.save(replace(row, phase=Phase.COMMITTING))
                hit("updater.taken_back")
                self._settlement.keep(row, told)
        return self._history.get(past.id)

    def recover(self) -> bool:
        """Finishes updates that died; False: something has to wait, so come again."""
        return self._recovery.recover()

    def _run(self, update: Update, order: Order, report: Report, cancel: threading.Event) -> Update:
        flakes, system, journal = self._driver.flakes, self._driver.system, self._journal
        if order.mode.writes and (warning := flakes.check_writable(order.flake, order.commit)):
            update = journal.save(replace(update, warnings=(warning,)))
        prepared = self._prepare(order, journal.copy(update.id), report, cancel)
        found = prepared.plan.changes
        update = journal.save(replace(update, changes=found))
        if not found:
            return journal.end(update, Result.UNCHANGED, "every input is at its newest")
        what = f"updates for {inputs_text(found)}"
        if order.mode is Mode.CHECK:
            return journal.end(update, Result.AVAILABLE, what)
        toplevel = ""
        if order.mode.builds:
            update = self._validated(update, prepared, order, report, cancel)
            toplevel = update.impact.toplevel if update.impact else ""
            if order.mode is Mode.BUILD:
                return journal.end(update, Result.SUCCEEDED, f"built with {what}: {toplevel}")
            update = replace(update, old_generation=system.generation(), mark=system.mark())
        if cancel.is_set():
            raise Cancelled("the update was cancelled")
        journal.keep_locks(update.id, prepared.candidate.old, prepared.candidate.new)
        update = journal.save(replace(update, phase=Phase.INSTALLING))
        hit("updater.installing")
        flakes.install(order.flake, prepared.candidate.old, prepared.candidate.new)
        report(Step("lock file updated", line=changed_text(found)))
        hit("updater.installed")
        if order.mode.switches:
            update = journal.save(replace(update, phase=Phase.SWITCHING))
            hit("updater.switching")
            switched = self._switch(update, toplevel, order, report, cancel)
            return self._settlement.judge(update, switched, report)
        return self._settlement.keep(journal.save(replace(update, phase=Phase.COMMITTING)), report)

    def _prepare(self, order: Order, folder: Path, report: Report, cancel: threading.Event) -> _Prepared:
        flakes = self._driver.flakes
        report(Step(f"looking for updates of {order.flake}"))
        before = flakes.inputs(order.flake)
        wanted: tuple[str, ...] = ()
        kept: tuple[str, ...] = ()
        pins = dict(order.pins)
        if not pins:
            holds = self._holds.of(order.flake)
            wanted, kept = targets(order.flake, before, order.inputs, holds)
            pins = nested_pins(before, wanted, holds)
        candidate = flakes.candidate(order.flake, folder, wanted, pins, report, cancel)
        found = changes(flakes.parse(candidate.old, before), flakes.parse(candidate.new, before))
        return _Prepared(candidate, Plan(order.flake, found, kept))

    def _validated(
        self, update: Update, prepared: _Prepared, order: Order, report: Report, cancel: threading.Event
    ) -> Update:
        """Builds, and holds it against what must hold before the switch; gives the row with what was built."""
        system = self._driver.system
        toplevel = system.build(prepared.candidate.reference, order.configuration, report, cancel)
        report(Step("built", line=toplevel))
        impact = system.impact(toplevel, order.validation is not Validation.BUILD, report, cancel)
        update = self._journal.save(replace(update, impact=impact))
        if order.validation is Validation.PROBES:
            for check in system.probe(order.probes, report, cancel):
                report(Step(f"probe {check.name}", line=f"{check.name}: {check.message or 'passed'}"))
                if not check.passed:
                    raise WrongState(
                        f"probe {check.name} fails before the update already: {check.message}",
                        next_step="put that right first, or validate with less",
                    )
        return update

    def _switch(
        self, update: Update, toplevel: str, order: Order, report: Report, cancel: threading.Event
    ) -> Switched:
        """The verdict, also where the call broke off."""
        system = self._driver.system
        try:
            return system.switch(toplevel, order, report, cancel)
        except ControlError as error:
            report(Step("the switch broke off", line=str(error)))
            try:
                found = system.outcome(update.mark, toplevel)
            except HostUnavailable:
                found = Switched(Outcome.OPEN)
            if found.outcome is Outcome.UNKNOWN:
                # It never began: that is a failure of the update, not of the generation.
                self._settlement.restore(update, report)
                raise
            return found if found.message else replace(found, message=str(error))

    @contextlib.contextmanager
    def _accounted(self, id: str) -> Iterator[None]:
        """Writes down what an update failed with."""
        try:
            yield
        except ControlError as error:
            self._failed(id, error)
            error.next_step = error.next_step or f"ncc update show {id} has the log"
            raise
        except BaseException as error:
            self._failed(id, ControlError(f"{type(error).__name__}: {error}"))
            raise

    def _failed(self, id: str, error: ControlError) -> None:
        """How it ended; takes the lock file back where nobody else will."""
        update = self._history.get(id)
        self._history.note(id, str(error))
        undecided = update.phase is Phase.SWITCHING and isinstance(error, HostUnavailable)
        if undecided or update.phase in (Phase.COMMITTING, Phase.DONE):
            return  # recover() finishes it, or it is finished
        if update.phase in (Phase.INSTALLING, Phase.RESTORING):
            try:
                update = self._settlement.restore(update, self._journal.noted(id, lambda step: None))
            except ControlError as second:
                self._history.note(id, f"the lock file could not be restored yet: {second}")
                return
        result = Result.ABORTED if isinstance(error, Cancelled) else Result.FAILED
        self._journal.end(update, result, str(error))

    def _taken(self, id: str) -> Update:
        """The update to take back."""
        if id in ("", "latest"):
            for row in self._history.all():
                if row.result is Result.SUCCEEDED and row.mode.writes and not row.takes_back:
                    return row
            raise NotFound("there is no update to take back", next_step="ncc update history lists them")
        row = self._history.get(id)
        if row.result is not Result.SUCCEEDED or not row.mode.writes or row.takes_back:
            what = "took another one back" if row.takes_back else f"is {row.result.lower().replace('_', ' ')}"
            raise WrongState(
                f"update {id} {what}: there is nothing to take back",
                next_step="ncc update history lists the updates",
            )
        return row

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A place for a copy of the flake."""
        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="check-", dir=self._work) as folder:
            yield Path(folder) / "flake"


def _activation(plan: Plan) -> str:
    lines = plan.impact.activation if plan.impact else ()
    return "; ".join(lines) or "no unit would be touched"


def _reversed(change: InputChange) -> InputChange:
    return InputChange(
        change.path,
        change.after,
        change.before,
        change.new_revision,
        change.old_revision,
        change.new_time,
        change.old_time,
    )
