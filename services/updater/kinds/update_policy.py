"""Kind UpdatePolicy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Emit, Report
from nixcc.updater.v1 import update_policy_pb2
from services.updater.orders import plain_folder
from services.updater.policies import Policies, PolicyRow
from services.updater.schedule import checked_expression, checked_zone
from services.updater.scheduler import Scheduler

UpdatePolicy = update_policy_pb2.UpdatePolicy


class UpdatePolicyKind:
    """Policies, which this service itself keeps and runs."""

    spec = UpdatePolicy

    def __init__(
        self,
        policies: Policies,
        scheduler: Scheduler,
        *,
        unsupported: str = "",
        clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
    ) -> None:
        self._policies = policies
        self._scheduler = scheduler
        self._unsupported = unsupported
        self._clock = clock

    def unsupported(self) -> str:
        return self._unsupported

    def validate(self, name: str, spec: UpdatePolicy) -> Sequence[Violation]:
        found = []
        spec.flake = plain_folder(spec.flake)
        try:
            spec.schedule = checked_expression(spec.schedule)
        except ValueError as error:
            found.append(Violation("schedule", str(error)))
        try:
            checked_zone(spec.time_zone)
        except ValueError as error:
            found.append(Violation("time_zone", str(error)))
        notify = spec.notify
        if notify.command and not notify.command[0].startswith("/"):
            found.append(Violation("notify.command[0]", "must be a program's absolute path"))
        if notify.webhook_file and not notify.webhook_file.startswith("/"):
            # Refused without being told back: the address is the secret.
            text = (
                "must be the absolute path of a file whose first line is the address, not the address itself"
            )
            found.append(Violation("notify.webhook_file", text))
        for probe in spec.probes:
            if probe.WhichOneof("check") is None:
                text = "needs one of unit, http, tcp, dns and command"
                found.append(Violation(f"probes[{probe.name}]", text))
        if spec.HasField("notify") and not notify.command and not notify.webhook_file:
            found.append(Violation("notify", "needs a command or a webhook_file"))
        _clear_outputs(spec)
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[UpdatePolicy] | ControlError | None]:
        found: dict[str, Detected[UpdatePolicy] | ControlError | None] = {}
        for name in keys:
            row = self._policies.get(name)
            found[name] = None if row is None else self._detected(row)
        return found

    def apply(self, change: Change[UpdatePolicy], report: Report) -> Applied:
        name = change.key
        if change.action is Action.DELETE or change.desired is None:
            removed = self._policies.remove(name)
            self._scheduler.wake()
            return Applied(f"removed {name}" if removed else f"{name} was gone already", changed=removed)
        spec = UpdatePolicy()
        spec.CopyFrom(change.desired)
        _clear_outputs(spec)
        changed = self._policies.put(name, spec, self._clock())
        self._scheduler.wake()
        row = self._policies.get(name)
        due = self._scheduler.next_run(row) if row is not None else None
        when = (
            f"runs next at {due.isoformat(timespec='seconds')}" if due is not None else "never runs by itself"
        )
        return Applied(f"{name} {when}", changed=changed)

    def enumerate(self) -> Sequence[str]:
        return sorted(self._policies.all())

    def watch(self, emit: Emit) -> None:
        self._scheduler.changed = lambda name: emit((name,))

    def hold(self, keys: Sequence[str]) -> None:
        """All are always watched."""

    def drop(self, keys: Sequence[str]) -> None:
        """All are always watched."""

    def close(self) -> None:
        self._scheduler.changed = lambda name: None

    def _detected(self, row: PolicyRow) -> Detected[UpdatePolicy]:
        spec = UpdatePolicy()
        spec.CopyFrom(row.spec)
        due = self._scheduler.next_run(row)
        if due is not None:
            spec.next_run = due.isoformat(timespec="seconds")
        if row.last_run is not None:
            spec.last_run = datetime.fromtimestamp(row.last_run, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if row.last_result:
            spec.last_result = f"{row.last_result} ({row.last_id})" if row.last_id else row.last_result
        trouble = f"the last run {row.last_result}" if row.failed else ""
        return Detected(spec, unhealthy=trouble)


def _clear_outputs(spec: UpdatePolicy) -> None:
    """What people may have written there is none of theirs."""
    spec.ClearField("next_run")
    spec.ClearField("last_run")
    spec.ClearField("last_result")
