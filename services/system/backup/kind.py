"""Kind StateBackup: what is declared is kept in the service's folder, where the schedule reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from common import cron
from common.errors import ControlError, Violation
from common.manager import Action, Applied, Change, Detected, Emit, Report
from nixcc.system.v1 import backup_pb2
from services.system.backup.models import MANUAL, Encryption, Keep, Policy, Status
from services.system.backup.service import Backups
from services.system.drivers.archive_age import wrong_recipient

StateBackup = backup_pb2.StateBackup

# Archives' names begin with the policy's, and are file names.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,200}")


class StateBackupKind:
    """Declared backups. `wake` tells the schedule that something has changed."""

    spec = StateBackup

    def __init__(self, backups: Backups, wake: Callable[[], None]) -> None:
        self._backups, self._wake = backups, wake

    def unsupported(self) -> str:
        return ""

    def validate(self, name: str, spec: StateBackup) -> Sequence[Violation]:
        found = []
        if name == MANUAL or not _NAME.fullmatch(name):
            found.append(
                Violation(
                    "metadata.name", f"archives are named after it: not {MANUAL!r}, at most 201 characters"
                )
            )
        for field in ("schedule", "verify_schedule"):
            if spec.HasField(field) and (wrong := cron.wrong(getattr(spec, field))):
                found.append(Violation(field, wrong))
        for index, recipient in enumerate(spec.recipients):
            if wrong := wrong_recipient(recipient):
                found.append(Violation(f"recipients[{index}]", wrong))
        files = (
            ("passphrase_file", spec.HasField("passphrase_file"), spec.passphrase_file),
            ("identity_file", spec.HasField("identity_file"), spec.identity_file),
        )
        for field, given, path in files:
            # No pattern says it, since its error would repeat what may be a secret.
            if given and not path.startswith("/"):
                found.append(
                    Violation(field, "must be an absolute path: the secret itself stays in that file")
                )
        if bool(spec.recipients) == bool(spec.passphrase_file):
            text = "either recipients or a passphrase_file is needed: archives hold secrets and are always encrypted"
            found.append(Violation("recipients", text))
        if spec.verify_schedule and not (spec.identity_file or spec.passphrase_file):
            text = "is needed to verify here: the archives can't be opened without a private key"
            found.append(Violation("identity_file", text))
        if ".." in spec.folder.split("/"):
            found.append(Violation("folder", "must not contain .."))
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detected[StateBackup] | ControlError | None]:
        found: dict[str, Detected[StateBackup] | ControlError | None] = {}
        for key in keys:
            policy = self._backups.policy(key)
            if policy is None:
                found[key] = None
                continue
            try:
                unhealthy = _unhealthy(self._backups.status(policy), self._backups.clock())
            except ControlError as error:
                unhealthy = str(error)
            found[key] = Detected(_spec(policy), unhealthy=unhealthy)
        return found

    def apply(self, change: Change[StateBackup], report: Report) -> Applied:
        if change.action is Action.DELETE or change.desired is None:
            gone = self._backups.forget(change.key)
            self._wake()
            return Applied("its archives stay" if gone else "it was not declared", changed=gone)
        policy = _policy(change.key, change.desired)
        changed = policy != self._backups.policy(change.key)
        if changed:
            self._backups.declare(policy)
            self._wake()
        return Applied("the schedule is set" if changed else "it was so already", changed=changed)

    def enumerate(self) -> Sequence[str]:
        """Those that are kept here."""
        return [policy.name for policy in self._backups.policies()]

    def watch(self, emit: Emit) -> None:
        self._backups.changed = lambda name: emit((name,))

    def hold(self, keys: Sequence[str]) -> None:
        """All are always told about."""

    def drop(self, keys: Sequence[str]) -> None:
        """All are always told about."""

    def close(self) -> None:
        self._backups.changed = lambda _: None


def _policy(name: str, spec: StateBackup) -> Policy:
    keep = None
    if spec.HasField("keep"):
        keep = Keep(spec.keep.last, spec.keep.daily, spec.keep.weekly, spec.keep.monthly)
    return Policy(
        name=name,
        schedule=spec.schedule,
        folder=spec.folder,
        encryption=Encryption(tuple(sorted(set(spec.recipients))), spec.passphrase_file),
        identity_file=spec.identity_file,
        verify_schedule=spec.verify_schedule,
        keep=keep,
        nixos=spec.nixos_configuration,
    )


def _spec(policy: Policy) -> StateBackup:
    spec = StateBackup(
        schedule=policy.schedule,
        folder=policy.folder,
        recipients=policy.encryption.recipients,
        passphrase_file=policy.encryption.passphrase_file or None,
        identity_file=policy.identity_file or None,
        verify_schedule=policy.verify_schedule or None,
        nixos_configuration=policy.nixos,
    )
    if policy.keep is not None:
        for name in ("last", "daily", "weekly", "monthly"):
            setattr(spec.keep, name, getattr(policy.keep, name))
    return spec


def _unhealthy(status: Status, now: float) -> str:
    """Why it can't be relied on; empty: it can."""
    last, record = status.last_good, status.record
    since = (
        "there is no good archive yet"
        if last is None
        else f"the last good archive is {_age(now - last.created)} old"
    )
    if status.overdue:
        why = f": {record.error}" if record.error else ""
        return f"overdue: {since}{why}"
    if record.error and not status.running:
        when = datetime.fromtimestamp(record.last_try).astimezone()
        return f"the run of {when:%Y-%m-%d %H:%M} failed: {record.error}; {since}"
    if record.verify_error:
        return f"verifying failed: {record.verify_error}"
    return ""


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(0, seconds))} seconds"
