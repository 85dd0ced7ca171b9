"""Runs policies when they are due, and finishes updates that died. One thread; each run has one of its own.

Times are the wall clock's, looked at again at least every half minute: sleep, time zones and a clock that is set
all just change what is due.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

import structlog
from google.protobuf.json_format import MessageToDict

from common.errors import Conflict, ControlError, HostUnavailable, NotFound
from services.updater.cycle import Cycle
from services.updater.drivers.base import UpdaterDriver
from services.updater.history import History
from services.updater.messages import update_message
from services.updater.models import Result, Update
from services.updater.orders import Orders, schedule_of
from services.updater.policies import Policies, PolicyRow

log = structlog.get_logger()

# How long it sleeps at most, in seconds.
LOOK = 30.0
# How soon an update that waits for another service is looked at again.
RECOVER = 5.0
# Delays after which a run is tried again that failed because something couldn't be reached.
RETRIES = (60.0, 300.0, 900.0)


class Scheduler:
    """Begins with `start`, ends with `close`. `changed(name)` is called when a policy's status did."""

    def __init__(
        self,
        policies: Policies,
        orders: Orders,
        cycle: Cycle,
        history: History,
        driver: UpdaterDriver,
        *,
        host_zone: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.time,
        changed: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._policies = policies
        self._orders = orders
        self._cycle = cycle
        self._history = history
        self._driver = driver
        self._host_zone = host_zone
        self._clock = clock
        self.changed = changed
        self._wake = threading.Event()
        self._over = threading.Event()
        self._running: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._run, name="updates", daemon=True)

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def wake(self) -> None:
        """Policies or the clock have changed: look now."""
        self._wake.set()

    def close(self) -> None:
        """Ends; running updates are cancelled, and finished at the next start where that is too late."""
        self._over.set()
        self._wake.set()
        for thread in (self._thread, *self._running.values()):
            if thread.ident is not None:
                thread.join(5.0)

    def next_run(self, row: PolicyRow, now: float | None = None) -> datetime | None:
        """When it runs next, in its time zone, at `now` at the earliest; None: never."""
        now = self._clock() if now is None else now
        if not row.spec.enabled and row.spec.HasField("enabled"):
            return None
        try:
            schedule = schedule_of(row.spec, self._host_zone())
            due = schedule.due(_moment(row.anchor), _moment(now))
        except ValueError:
            return None
        if row.retry_at is not None:
            # A retry that is far away was set when the clock was wrong.
            due = min(due, _moment(max(now, min(row.retry_at, now + RETRIES[-1]))))
        return due.astimezone(schedule.zone)

    def look(self) -> float:
        """Starts what is due; gives how many seconds may pass until the next look."""
        wait = LOOK
        now = self._clock()
        for name, row in self._policies.all().items():
            if row.anchor > now:
                # The clock went back: what was done in its future must not keep us from running.
                self._policies.note(name, anchor=now)
            if name in self._running and self._running[name].is_alive():
                continue
            due = self.next_run(row, now)
            if due is None:
                continue
            left = due.timestamp() - now
            if left > 0:
                wait = min(wait, left)
                continue
            # Written before it begins: a crash doesn't make it run again and again.
            self._policies.note(name, anchor=now, last_run=now, retry_at=None)
            thread = threading.Thread(
                target=self.run_policy, args=(name,), name=f"update-{name}", daemon=True
            )
            self._running[name] = thread
            thread.start()
        return wait

    def run_policy(self, name: str) -> None:
        """One run of a policy, with its result written down and told."""
        log.info("update begins", policy=name)
        row = self._policies.get(name)
        before = self._latest(name)
        error: ControlError | None = None
        try:
            self._cycle.run(self._orders.of_policy(name), lambda step: None, self._over)
        except ControlError as caught:
            error = caught
        except Exception as caught:  # a bug must not end the schedule
            log.exception("update failed", policy=name)
            error = ControlError(f"{type(caught).__name__}: {caught}")
        update = self._latest(name)
        if update is not None and before is not None and update.id == before.id:
            update = None  # it never came to a row
        self._note(name, update, error, row.attempts if row else 0)
        self.changed(name)
        self._wake.set()
        if row is not None:
            self._tell(name, row, update, error)

    def _note(self, name: str, update: Update | None, error: ControlError | None, attempts: int) -> None:
        if error is None and update is not None:
            text, failed = f"{_word(update.result)}: {update.message}", update.result.bad
        else:
            text, failed = f"failed: {error}", True
            if update is not None and update.result.bad:
                text = f"{_word(update.result)}: {update.message}"
        retry = None
        if isinstance(error, Conflict | HostUnavailable) and (
            update is None or update.result is Result.FAILED
        ):
            if attempts < len(RETRIES):
                retry = self._clock() + RETRIES[attempts]
            attempts += 1
        else:
            attempts = 0
        self._policies.note(
            name,
            last_id=update.id if update else "",
            last_result=text,
            failed=failed,
            attempts=attempts if retry is not None else 0,
            retry_at=retry,
        )

    def _tell(self, name: str, row: PolicyRow, update: Update | None, error: ControlError | None) -> None:
        """Notifies whom the policy names; trouble with that is logged and changes nothing else."""
        notify = row.spec.notify
        quiet = update is not None and error is None and update.result is Result.UNCHANGED
        if not row.spec.HasField("notify") or (quiet and not notify.always):
            return
        body: dict[str, object] = {"policy": name, "flake": row.spec.flake}
        if update is not None:
            body["update"] = MessageToDict(update_message(update), preserving_proto_field_name=True)
        if error is not None:
            body["error"] = str(error)
        data = json.dumps(body, ensure_ascii=False).encode()
        sends: list[Callable[[], None]] = []
        if notify.command:
            sends.append(lambda: self._driver.notifier.command(list(notify.command), data))
        if notify.webhook_file:
            sends.append(lambda: self._driver.notifier.webhook(notify.webhook_file, data))
        for send in sends:
            try:
                send()
            except ControlError as failure:
                log.warning("nobody could be told of an update", policy=name, error=str(failure))
                if update is not None:
                    with contextlib.suppress(NotFound):
                        self._history.note(update.id, f"telling it failed: {failure}")

    def _latest(self, policy: str) -> Update | None:
        return next((row for row in self._history.all() if row.policy == policy), None)

    def _run(self) -> None:
        recovered = False
        while not self._over.is_set():
            self._wake.clear()
            wait = RECOVER
            try:
                if not recovered:
                    recovered = self._recover()
                wait = min(self.look(), LOOK if recovered else RECOVER)
            except ControlError as error:
                log.warning("policies can't be looked at", error=str(error))
            except Exception:
                log.exception("the schedule failed")
            if self._open():
                recovered = False
                wait = min(wait, RECOVER)
            self._wake.wait(max(0.01, wait))

    def _recover(self) -> bool:
        rows = self._history.open()
        done = self._cycle.recover()
        for row in rows:
            if row.policy:
                self._settled(row)
        return done

    def _settled(self, row: Update) -> None:
        """An update of a policy's that was finished later."""
        with contextlib.suppress(NotFound):
            found = self._history.get(row.id)
            if found.end is not None:
                self._policies.note(
                    row.policy,
                    last_id=found.id,
                    last_result=f"{_word(found.result)}: {found.message}",
                    failed=found.result.bad,
                )
                self.changed(row.policy)

    def _open(self) -> bool:
        return bool(self._history.open()) and not any(t.is_alive() for t in self._running.values())


def _word(result: Result) -> str:
    return result.lower().replace("_", " ")


def _moment(seconds: float) -> datetime:
    zone: tzinfo = UTC
    return datetime.fromtimestamp(seconds, zone)
