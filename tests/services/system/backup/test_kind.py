"""Kind StateBackup."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pyrage
import pytest

from common import spec as specs
from common.manager import Action, Change, Detected
from nixcc.system.v1 import backup_pb2
from services.system.backup.kind import StateBackupKind
from services.system.backup.service import Backups
from services.system.drivers.archive import ArchiveDriver, Job

IDENTITY = pyrage.x25519.Identity.generate()
PUBLIC = str(IDENTITY.to_public())


class Setting:
    def __init__(self, folder: Path) -> None:
        self.now = 1_795_521_600.0
        (folder / "root").mkdir()
        self.backups = Backups(
            folder / "root", folder / "state", ArchiveDriver(), clock=lambda: self.now, zone=UTC
        )
        self.woken = 0
        self.kind = StateBackupKind(self.backups, self.wake)

    def wake(self) -> None:
        self.woken += 1

    def apply(self, spec: backup_pb2.StateBackup | None, action: Action = Action.CREATE) -> bool:
        return self.kind.apply(Change("nightly", action, spec, None), lambda *_: None).changed

    def detected(self) -> Detected[backup_pb2.StateBackup]:
        found = self.kind.detect(["nightly"])["nightly"]
        assert isinstance(found, Detected)
        return found


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def spec(**fields: object) -> backup_pb2.StateBackup:
    found = backup_pb2.StateBackup(recipients=[PUBLIC], **fields)  # type: ignore[arg-type]
    specs.fill_defaults(found)
    return found


def test_what_is_applied_is_detected_and_applying_again_changes_nothing(setting: Setting) -> None:
    wish = spec(
        keep=backup_pb2.KeepPolicy(daily=0, weekly=3), identity_file="/k", verify_schedule="0 5 * * 0"
    )
    assert setting.kind.detect(["nightly"]) == {"nightly": None}
    assert setting.apply(wish)
    assert not setting.apply(wish)
    assert setting.woken == 1
    found = setting.detected()
    wish.keep.last, wish.keep.monthly = 0, 0
    assert found.spec == wish
    assert found.unhealthy == ""
    assert setting.kind.enumerate() == ["nightly"]
    assert setting.apply(None, Action.DELETE)
    assert not setting.apply(None, Action.DELETE)
    assert setting.kind.detect(["nightly"]) == {"nightly": None}


def test_it_is_not_ready_when_overdue(setting: Setting) -> None:
    wish = spec()
    setting.apply(wish)
    setting.now += 3 * 86_400
    assert setting.detected().unhealthy == "overdue: there is no good archive yet"
    policy = setting.backups.policy("nightly")
    assert policy is not None
    setting.backups.create(policy, Job())
    assert setting.detected().unhealthy == ""


def test_changes_are_hinted(setting: Setting) -> None:
    told: list[str] = []
    setting.kind.watch(told.extend)
    setting.apply(spec())
    policy = setting.backups.policy("nightly")
    assert policy is not None
    setting.backups.create(policy, Job())
    assert set(told) == {"nightly"}
    setting.kind.close()


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("schedule", {"schedule": "every day"}),
        ("verify_schedule", {"verify_schedule": "* * *", "identity_file": "/k"}),
        ("identity_file", {"verify_schedule": "0 5 * * 0"}),
        ("recipients", {"passphrase_file": "/p"}),
        ("folder", {"folder": "/a/../b"}),
    ],
)
def test_what_is_refused(setting: Setting, field: str, fields: dict[str, object]) -> None:
    assert [violation.field for violation in setting.kind.validate("nightly", spec(**fields))] == [field]


def test_a_private_key_is_refused_and_not_repeated(setting: Setting) -> None:
    wish = spec()
    wish.recipients.append(str(IDENTITY))
    (violation,) = setting.kind.validate("nightly", wish)
    assert violation.field == "recipients[1]"
    assert "private key" in violation.description
    assert str(IDENTITY) not in violation.description


@pytest.mark.parametrize("name", ["manual", "x" * 250])
def test_names_that_archives_can_not_have(setting: Setting, name: str) -> None:
    assert [one.field for one in setting.kind.validate(name, spec())] == ["metadata.name"]
    assert not setting.kind.validate("nightly", spec())
