"""The kind BackupJob: what it refuses, when it can be relied on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from common.errors import ControlError
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.jobs import Jobs
from services.homelab.drivers.base import Engine
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState
from services.homelab.kinds.backup_job import BackupJobKind

pytestmark = pytest.mark.host
DUMP, PAUSE, STOP = pb.BACKUP_HOOK_ACTION_DUMP, pb.BACKUP_HOOK_ACTION_PAUSE, pb.BACKUP_HOOK_ACTION_STOP


def job(**fields: Any) -> pb.BackupJob:
    base = {"repository": "/r", "password_file": "/p", "paths": ["/a"], "schedule": "30 3 * * *"}
    return pb.BackupJob(**{**base, **fields})


@pytest.fixture
def kind(engine: Engine, tmp_path: Path) -> BackupJobKind:
    jobs = Jobs(engine, OwnState(tmp_path / "s", Path("/")), MachineDisks(tmp_path / "v"), tmp_path / "jobs")
    return BackupJobKind(jobs, lambda: None)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (job(), []),
        (job(schedule="often"), ["schedule"]),
        (job(check_schedule="x", restore_test_schedule="y"), ["check_schedule", "restore_test_schedule"]),
        (job(time_zone="Mars/Crater"), ["time_zone"]),
        (job(paths=[], vms=["a"]), []),
        (job(paths=[]), ["paths"]),
        (job(paths=["/a/../b"]), ["paths[0]"]),
        (
            job(excludes=["*.tmp", "a[bc]*", "\\*", "a[", "", "b\\"]),
            ["excludes[3]", "excludes[4]", "excludes[5]"],
        ),
        (job(schedule="0 0 30 2 *"), ["schedule"]),
        (
            job(hooks=[pb.BackupHook(container="a", action=DUMP)]),
            ["hooks[0].command", "hooks[0].file_name"],
        ),
        (job(hooks=[pb.BackupHook(container="a", action=PAUSE, command=["x"])]), ["hooks[0].command"]),
        (
            job(
                hooks=[pb.BackupHook(container="a", action=PAUSE), pb.BackupHook(container="a", action=STOP)]
            ),
            ["hooks[1].container"],
        ),
        (
            job(hooks=[pb.BackupHook(container="a", action=DUMP, command=["x"], file_name="f")] * 2),
            ["hooks[1].file_name"],
        ),
    ],
)
def test_what_is_refused(kind: BackupJobKind, spec: pb.BackupJob, fields: list[str]) -> None:
    assert [one.field for one in kind.validate("nightly", spec)] == fields


def test_names_become_files(kind: BackupJobKind) -> None:
    assert kind.validate("../x", job())
    assert not kind.validate("a.b-c_d", job())


def test_its_life(kind: BackupJobKind, step: Callable[..., Any], require: Any, tmp_path: Path) -> None:
    require(binary="restic")
    assert kind.unsupported() == ""
    told: list[Sequence[str]] = []
    kind.watch(told.append)
    (tmp_path / "docs").mkdir()
    spec = job(
        repository=str(tmp_path / "r"), password_file=str(tmp_path / "p"), paths=[str(tmp_path / "docs")]
    )
    assert step(kind, "nightly", spec).changed
    assert not step(kind, "nightly", spec).changed
    found = kind.detect(["nightly", "absent"])
    assert found["absent"] is None
    assert (found["nightly"].unhealthy, found["nightly"].spec.HasField("next_run")) == ("", True)  # type: ignore[union-attr]
    jobs = kind._jobs  # as the schedule does
    with pytest.raises(ControlError):
        jobs.run("nightly")
    unhealthy = kind.detect(["nightly"])["nightly"].unhealthy  # type: ignore[union-attr]
    assert "the last run failed: there is no file" in unhealthy
    assert "no good backup yet" in unhealthy
    (tmp_path / "p").write_text("x\n")
    (tmp_path / "p").chmod(0o600)
    jobs.run("nightly")
    good = kind.detect(["nightly"])["nightly"]
    assert (good.unhealthy, good.spec.HasField("last_success")) == ("", True)  # type: ignore[union-attr]
    assert ("nightly",) in told
    later = jobs.clock() + 3 * 86_400
    jobs.clock = lambda: later
    assert "overdue: the last good one" in kind.detect(["nightly"])["nightly"].unhealthy  # type: ignore[union-attr]
    assert list(kind.enumerate()) == ["nightly"]
    assert "stay" in step(kind, "nightly", None).message
    assert not step(kind, "nightly", None).changed
    kind.close()
