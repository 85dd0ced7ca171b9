"""One update from beginning to end, and what to finish of one that died: the journal has each step before it is taken.

The lock file is installed after everything was built and checked, and before the switch; the switch's verdict decides
whether it stays.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from common.errors import Cancelled, Conflict, ControlError, HostUnavailable, NotFound, RolledBack, WrongState
from common.failpoints import hit
from services.updater.drivers.base import Candidate, Outcome, Report, Step, Switched, UpdaterDriver
from services.updater.history import History, write_whole
from services.updater.holds import Holds
from services.updater.lock_changes import changes
from services.updater.models import (
    Check,
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
from services.updater.targets import targets

log = structlog.get_logger()

_OLD, _NEW, _COPY = "old.lock", "new.lock", "flake"
_NAMED = 4


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

    def check(self, order: Order, build: bool, report: Report, cancel: threading.Event) -> Plan:
        """What the update would change; changes nothing."""
        with self._scratch() as folder:
            prepared = self._prepare(order, folder, report, cancel)
            if not build or not prepared.plan.changes:
                return prepared.plan
            built = self._driver.system.build(
                prepared.candidate.reference, order.configuration, report, cancel
            )
            return replace(prepared.plan, impact=self._driver.system.impact(built, False, report, cancel))

    def validate(self, order: Order, report: Report, cancel: threading.Event) -> tuple[Plan, Sequence[Check]]:
        """All that can be found out without switching; a failure is a check that didn't pass."""
        checks: list[Check] = []
        with self._scratch() as folder:
            prepared = self._prepare(order, folder, report, cancel)
            plan = prepared.plan
            name = "evaluate and build"
            try:
                built = self._driver.system.build(
                    prepared.candidate.reference, order.configuration, report, cancel
                )
                checks.append(Check(name, True, built))
                name = "dry-activate"
                plan = replace(plan, impact=self._driver.system.impact(built, True, report, cancel))
                checks.append(Check(name, True, _activation(plan)))
                name = "probes"
                checks += self._driver.system.probe(order.probes, report, cancel)
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
            update = self._history.begin(
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
            told = self._noted(update.id, report)
            try:
                return self._run(update, order, told, cancel)
            except ControlError as error:
                self._failed(update.id, error)
                error.next_step = error.next_step or f"ncc update show {update.id} has the log"
                raise
            except BaseException as error:
                self._failed(update.id, ControlError(f"{type(error).__name__}: {error}"))
                raise
            finally:
                shutil.rmtree(self._history.folder(update.id) / _COPY, ignore_errors=True)

    def take_back(
        self, id: str, requested_by: str, lock_only: bool, report: Report, cancel: threading.Event
    ) -> Update:
        """Goes back to before an update; gives that update."""
        past = self._taken(id)
        with self._driver.flakes.owned(past.flake):
            old, new = self._locks(past.id)
            if self._driver.flakes.lock(past.flake) != new:
                raise Conflict(
                    f"the lock file of {past.flake} is not the one that update {past.id} made",
                    next_step="take back later updates first (ncc update history), or restore it by hand",
                )
            switches = past.mode.switches and not lock_only and past.old_generation > 0
            row = self._history.begin(
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
                    phase=Phase.SWITCHING if switches else Phase.COMMITTING,
                )
            )
            told = self._noted(row.id, report)
            self._keep_locks(row.id, new, old)
            try:
                if switches:
                    told(Step(f"switching back to generation {past.old_generation}"))
                    number = self._driver.system.roll_back(past.old_generation, told, cancel)
                    row = self._saved(replace(row, phase=Phase.COMMITTING, new_generation=number))
                hit("updater.taken_back")
                self._settle(row, told)
            except ControlError as error:
                self._failed(row.id, error)
                error.next_step = error.next_step or f"ncc update show {row.id} has the log"
                raise
        return self._history.get(past.id)

    def recover(self) -> bool:
        """Finishes what died; True: nothing is left open. Called at the start, and again until it gives True."""
        done = True
        for update in self._history.open():
            try:
                with self._driver.flakes.owned(update.flake):
                    # Read again: it may have ended while we waited for the lock.
                    update = self._history.get(update.id)
                    if update.phase is not Phase.DONE:
                        done &= self._recovered(update)
            except NotFound as error:
                self._ended(update, Result.ABORTED, f"it was interrupted; {error.message}")
            except (HostUnavailable, WrongState) as error:
                log.info("an update waits to be finished", update=update.id, reason=error.message)
                done = False
            except ControlError as error:
                self._history.note(update.id, f"could not be finished: {error}")
                self._ended(update, Result.FAILED, f"it was interrupted and could not be finished: {error}")
        return done

    # One update

    def _run(self, update: Update, order: Order, report: Report, cancel: threading.Event) -> Update:
        flakes, system = self._driver.flakes, self._driver.system
        if order.mode.writes and (warning := flakes.check_writable(order.flake, order.commit)):
            update = self._saved(replace(update, warnings=(*update.warnings, warning)))
        prepared = self._prepare(order, self._history.folder(update.id) / _COPY, report, cancel)
        update = self._saved(replace(update, changes=prepared.plan.changes))
        if not prepared.plan.changes:
            return self._ended(update, Result.UNCHANGED, "every input is at its newest")
        count = _inputs(prepared.plan.changes)
        if order.mode is Mode.CHECK:
            return self._ended(update, Result.AVAILABLE, f"updates for {count}")
        toplevel = ""
        if order.mode.builds:
            toplevel = self._validated(update, prepared, order, report, cancel)
            update = self._history.get(update.id)
            if order.mode is Mode.BUILD:
                return self._ended(update, Result.SUCCEEDED, f"built with updates for {count}: {toplevel}")
            update = self._saved(replace(update, old_generation=system.generation(), mark=system.mark()))
        if cancel.is_set():
            raise Cancelled("the update was cancelled")
        self._keep_locks(update.id, prepared.candidate.old, prepared.candidate.new)
        update = self._saved(replace(update, phase=Phase.INSTALLING))
        hit("updater.installing")
        flakes.install(order.flake, prepared.candidate.old, prepared.candidate.new)
        report(Step("lock file updated", line=changed_text(prepared.plan.changes)))
        hit("updater.installed")
        if order.mode.switches:
            update = self._saved(replace(update, phase=Phase.SWITCHING))
            hit("updater.switching")
            return self._judged(update, self._switch(update, toplevel, order, report, cancel), report)
        return self._settle(self._saved(replace(update, phase=Phase.COMMITTING)), report)

    def _prepare(self, order: Order, folder: Path, report: Report, cancel: threading.Event) -> _Prepared:
        flakes = self._driver.flakes
        report(Step(f"looking for updates of {order.flake}"))
        before = flakes.inputs(order.flake)
        wanted: tuple[str, ...] = ()
        kept: tuple[str, ...] = ()
        if not order.pins:
            wanted, kept = targets(order.flake, before, order.inputs, self._holds.of(order.flake))
        candidate = flakes.candidate(order.flake, folder, wanted, dict(order.pins), report, cancel)
        after = flakes.parse(candidate.new, before)
        found = changes(flakes.parse(candidate.old, before), after)
        return _Prepared(candidate, Plan(order.flake, found, kept))

    def _validated(
        self, update: Update, prepared: _Prepared, order: Order, report: Report, cancel: threading.Event
    ) -> str:
        """Builds, and holds it against what must hold before the switch; gives the store path."""
        system = self._driver.system
        toplevel = system.build(prepared.candidate.reference, order.configuration, report, cancel)
        report(Step("built", line=toplevel))
        impact = system.impact(toplevel, order.validation is not Validation.BUILD, report, cancel)
        self._saved(replace(update, impact=impact))
        if order.validation is Validation.PROBES:
            for check in system.probe(order.probes, report, cancel):
                report(Step(f"probe {check.name}", line=f"{check.name}: {check.message or 'passed'}"))
                if not check.passed:
                    raise WrongState(
                        f"probe {check.name} fails before the update already: {check.message}",
                        next_step="put that right first, or validate with less",
                    )
        return toplevel

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
                self._restored(update, report)
                raise
            return found if found.message else replace(found, message=str(error))

    def _judged(self, update: Update, switched: Switched, report: Report) -> Update:
        """What the verdict means for the lock file."""
        if switched.outcome is Outcome.OPEN:
            raise HostUnavailable(
                f"the switch of update {update.id} is not decided yet: {switched.message or 'it still runs'}",
                retry_after=5.0,
                next_step=f"it is finished by itself; ncc update show {update.id}",
            )
        if switched.outcome is Outcome.CONFIRMED:
            row = replace(update, phase=Phase.COMMITTING, new_generation=switched.generation)
            row = self._saved(row)
            hit("updater.confirmed")
            return self._settle(row, report)
        self._restored(update, report)
        reason = switched.message or "it was not confirmed"
        self._ended(self._history.get(update.id), Result.ROLLED_BACK, reason)
        raise RolledBack(
            f"the update was rolled back: {reason}", next_step=f"ncc update show {update.id} has the log"
        )

    def _settle(self, update: Update, report: Report) -> Update:
        """The lock file as it shall stay, and its commit; idempotent."""
        flakes = self._driver.flakes
        old, new = self._locks(update.id)
        warnings = list(update.warnings)
        current = flakes.lock(update.flake)
        if current == old and update.takes_back:
            flakes.install(update.flake, old, new)
            current = new
        if current != new:
            warnings.append("the lock file was changed meanwhile and is left so")
        commit = ""
        if update.wants_commit and current == new:
            try:
                made = flakes.commit(update.flake, _message(update))
                commit = made.revision
                if made.warning:
                    warnings.append(made.warning)
            except ControlError as error:
                warnings.append(f"the lock file could not be committed: {error}")
        for warning in warnings[len(update.warnings) :]:
            report(Step("done, with a warning", line=warning))
        hit("updater.committed")
        if update.takes_back:
            with contextlib.suppress(NotFound):
                past = self._history.get(update.takes_back)
                self._saved(replace(past, result=Result.TAKEN_BACK, message=f"taken back by {update.id}"))
        update = replace(update, commit=commit, warnings=tuple(warnings))
        return self._ended(update, Result.SUCCEEDED, _done_text(update))

    def _restored(self, update: Update, report: Report) -> None:
        """Puts the old lock file back, unless somebody has changed it meanwhile or the owner wants it kept."""
        if not update.restore_lock and update.phase is Phase.SWITCHING:
            report(Step("the lock file stays as updated"))
            return
        update = self._saved(replace(update, phase=Phase.RESTORING))
        hit("updater.restoring")
        old, new = self._locks(update.id)
        current = self._driver.flakes.lock(update.flake)
        if current == new != old:
            self._driver.flakes.install(update.flake, new, old)
            report(Step("lock file restored", line="the lock file is as it was before the update"))
        elif current != old:
            warning = "the lock file was changed meanwhile and is left so"
            self._saved(replace(update, warnings=(*update.warnings, warning)))

    def _failed(self, id: str, error: ControlError) -> None:
        """Writes down how it ended, and takes the lock file back where nobody else will."""
        update = self._history.get(id)
        self._history.note(id, str(error))
        if update.phase is Phase.DONE or (
            update.phase is Phase.SWITCHING and isinstance(error, HostUnavailable)
        ):
            return  # said already, or still open: recover() finishes it
        if update.phase in (Phase.INSTALLING, Phase.RESTORING):
            try:
                self._restored(update, self._noted(id, lambda step: None))
            except ControlError as second:
                self._history.note(id, f"the lock file could not be restored yet: {second}")
                return
            update = self._history.get(id)
        result = Result.ABORTED if isinstance(error, Cancelled) else Result.FAILED
        self._ended(update, result, str(error))

    def _recovered(self, update: Update) -> bool:
        """One that died. False: it has to wait."""
        report = self._noted(update.id, lambda step: None)
        self._history.note(update.id, f"found unfinished ({update.phase.lower()}) after a restart")
        shutil.rmtree(self._history.folder(update.id) / _COPY, ignore_errors=True)
        interrupted = "the daemon ended while it ran"
        if update.phase is Phase.PREPARING:
            self._ended(update, Result.ABORTED, interrupted)
        elif update.phase is Phase.COMMITTING:
            self._settle(update, report)
        elif update.phase is Phase.SWITCHING and update.takes_back:
            if self._driver.system.generation() == update.new_generation:
                self._settle(self._saved(replace(update, phase=Phase.COMMITTING)), report)
            else:
                self._ended(update, Result.ABORTED, interrupted)
        elif update.phase is Phase.SWITCHING:
            return self._resumed(update, report)
        else:
            self._restored(update, report)
            self._ended(self._history.get(update.id), Result.ABORTED, interrupted)
        return True

    def _resumed(self, update: Update, report: Report) -> bool:
        toplevel = update.impact.toplevel if update.impact else ""
        found = self._driver.system.outcome(update.mark, toplevel)
        if found.outcome is Outcome.OPEN:
            return False
        if found.outcome is Outcome.UNKNOWN:
            self._restored(update, report)
            self._ended(
                self._history.get(update.id), Result.ABORTED, "the daemon ended before the switch began"
            )
            return True
        with contextlib.suppress(RolledBack):
            self._judged(update, found, report)
        return True

    # The journal

    def _ended(self, update: Update, result: Result, message: str) -> Update:
        done = replace(update, phase=Phase.DONE, result=result, message=message, end=self._history.now())
        log.info("update ended", update=done.id, flake=done.flake, result=result.value, message=message)
        return self._saved(done)

    def _saved(self, update: Update) -> Update:
        self._history.save(update)
        return update

    def _noted(self, id: str, report: Report) -> Report:
        said = ""

        def told(step: Step) -> None:
            nonlocal said
            if step.line is not None:
                self._history.note(id, step.line)
            elif step.percent is None and step.message != said:
                said = step.message
                self._history.note(id, step.message)
            report(step)

        return told

    def _keep_locks(self, id: str, old: bytes, new: bytes) -> None:
        folder = self._history.folder(id)
        write_whole(folder / _OLD, old)
        write_whole(folder / _NEW, new)

    def _locks(self, id: str) -> tuple[bytes, bytes]:
        folder = self._history.folder(id)
        try:
            return (folder / _OLD).read_bytes(), (folder / _NEW).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"the lock files of update {id} are not kept") from None

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
        import tempfile

        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="check-", dir=self._work) as folder:
            yield Path(folder) / _COPY


def _activation(plan: Plan) -> str:
    lines = plan.impact.activation if plan.impact else ()
    return "; ".join(lines) or "no unit would be touched"


def _inputs(found: Sequence[InputChange]) -> str:
    names = [change.path for change in found]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _message(update: Update) -> str:
    verb = f"take back {update.takes_back}" if update.takes_back else f"update {_inputs(update.changes)}"
    return f"flake.lock: {verb}\n\n{changed_text(update.changes)}\n"


def _done_text(update: Update) -> str:
    if update.takes_back:
        return f"took back {update.takes_back}"
    what = f"updated {_inputs(update.changes)}"
    if update.mode is Mode.SWITCH:
        return f"{what}; generation {update.new_generation} runs"
    if update.mode is Mode.BOOT:
        return f"{what}; generation {update.new_generation} starts with the next boot"
    return what


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
