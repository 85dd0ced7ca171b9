"""Jobs with a real restic: runs, schedules, what is remembered, and kills in the middle."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common import failpoints
from common.errors import Cancelled, ControlError, Forbidden, InvalidRequest, NotFound, WrongState
from daemons import until
from dockerd import Dockerd
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.jobs import Jobs
from services.homelab.drivers.base import Engine
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState

pytestmark = pytest.mark.host
Job = Callable[..., pb.BackupJob]
CANARY = "canary-77d1-never-told"
PAUSE = {"container": "db", "action": "BACKUP_HOOK_ACTION_PAUSE"}
STOP = {"container": "web", "action": "BACKUP_HOOK_ACTION_STOP"}


def quiet(message: str, percent: int | None) -> None:
    """Nobody listens."""


def test_made_kept_and_restored_byte_by_byte(jobs: Jobs, job: Job, tmp_path: Path) -> None:
    jobs.declare("nightly", job(retention={"last": 2}))
    told: list[str] = []
    jobs.changed = told.append
    for number in range(3):
        (tmp_path / "docs/b").write_text(f"run {number}")
        run = jobs.run("nightly")
        assert (run.error, run.files, bool(run.snapshot)) == ("", 2, True)
    assert set(told) == {"nightly"}
    snapshots = jobs.snapshots.of("nightly")
    assert len(snapshots) == 2
    nodes, _ = jobs.snapshots.browse("nightly", "latest", str(tmp_path / "docs"))
    assert sorted(Path(str(node["path"])).name for node in nodes) == ["a", "b"]
    target, identifier = jobs.snapshots.restore(
        "nightly", "latest", str(tmp_path / "out"), [], False, quiet, threading.Event()
    )
    assert identifier == snapshots[-1].id
    restored = Path(f"{target}{tmp_path}/docs")
    assert (restored / "a").read_bytes() == (tmp_path / "docs/a").read_bytes()
    assert (restored / "b").read_text() == "run 2"
    (tmp_path / "docs/b").write_text("spoilt")
    first = snapshots[0].id[:8]
    jobs.snapshots.restore("nightly", first, "", [str(tmp_path / "docs/b")], True, quiet, threading.Event())
    assert (tmp_path / "docs/b").read_text() == "run 1"
    jobs.verify("nightly", data_percent=100)
    assert jobs.test_restore("nightly") == snapshots[-1].id
    assert not list((tmp_path / "jobs/work").glob("restore-*"))
    assert jobs.snapshots.forget("nightly", dry_run=True, cancel=threading.Event()) == []


def test_containers_are_held_only_meanwhile(
    jobs: Jobs, job: Job, run: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    for name in ("db", "web"):
        run(name, "sleep infinity & wait", "--network", "none")
    jobs.declare("nightly", job(hooks=[PAUSE, STOP]))
    seen: list[tuple[bool, bool]] = []

    def look(message: str, percent: int | None) -> None:
        if percent is not None:
            states = [(engine.containers.inspect(name) or {})["State"] for name in ("db", "web")]
            seen.append((states[0]["Paused"], states[1]["Running"]))

    jobs.run("nightly", look)
    assert (True, False) in seen
    states = [(engine.containers.inspect(name) or {})["State"] for name in ("db", "web")]
    assert [(state["Running"], state["Paused"]) for state in states] == [(True, False), (True, False)]


def test_what_fails_is_remembered_and_told(jobs: Jobs, job: Job, tmp_path: Path) -> None:
    jobs.declare("nightly", job())
    jobs.run("nightly")
    good = jobs.status("nightly").record.last_success
    password = tmp_path / "password"
    password.write_text("wrong\n")
    with pytest.raises(Forbidden, match="the password does not open"):
        jobs.run("nightly")
    status = jobs.status("nightly")
    assert "the password" in status.record.error
    assert (status.record.last_success, status.record.runs[0].snapshot) == (good, "")
    password.write_text(f"{CANARY}\n")
    password.chmod(0o644)
    with pytest.raises(Forbidden, match="read by others"):
        jobs.run("nightly")
    password.chmod(0o600)
    (tmp_path / "repository").rename(tmp_path / "gone")
    with pytest.raises(NotFound, match="there is no repository"):
        jobs.run("nightly")
    assert not (tmp_path / "repository").exists(), "no new one in the place of one that went away"
    (tmp_path / "gone").rename(tmp_path / "repository")
    (tmp_path / "docs").rename(tmp_path / "elsewhere")
    with pytest.raises(WrongState, match="not there"):
        jobs.run("nightly")
    (tmp_path / "elsewhere").rename(tmp_path / "docs")
    assert jobs.run("nightly").error == ""
    assert jobs.status("nightly").record.error == ""
    assert len(jobs.status("nightly").record.runs) == 6


def test_secrets_are_nowhere(jobs: Jobs, job: Job, tmp_path: Path) -> None:
    jobs.declare("nightly", job())
    seen: list[bytes] = []

    def look(message: str, percent: int | None) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                for what in ("cmdline", "environ"):
                    try:
                        content = (entry / what).read_bytes()
                    except OSError:
                        continue
                    if b"restic" in content:
                        seen.append(content)

    jobs.run("nightly", look)
    assert seen
    assert not [one for one in seen if CANARY.encode() in one]
    for path in (tmp_path / "jobs").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_one_run_of_a_repository_at_once(jobs: Jobs, job: Job) -> None:
    jobs.declare("nightly", job())
    jobs.declare("other", job())
    failed: list[str] = []

    def again(message: str, percent: int | None) -> None:
        for name in ("nightly", "other"):
            with pytest.raises(WrongState, match="in use by another run") as raised:
                jobs.run(name)
            failed.append(raised.value.message)

    jobs.run("nightly", again)
    assert failed
    jobs.run("other")
    assert [len(jobs.snapshots.of(name)) for name in ("nightly", "other")] == [1, 1]


def test_by_schedule_and_made_up_for_once(jobs: Jobs, job: Job, clock: Any) -> None:
    clock.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()
    jobs.declare("nightly", job(timeZone="UTC", checkSchedule="0 5 * * *", restoreTestSchedule="0 6 * * *"))
    assert list(jobs.due()) == []
    assert jobs.next_time() == datetime(2026, 3, 2, 3, 30, tzinfo=UTC).timestamp()
    clock.now += 5 * 86_400
    status = jobs.status("nightly")
    assert status.overdue
    work = list(jobs.due())
    assert len(work) == 3
    for one in work:
        one()
    status = jobs.status("nightly")
    assert (status.overdue, status.record.error, len(status.record.runs)) == (False, "", 1)
    assert status.record.last_check == status.record.last_restore_test == clock.now
    assert list(jobs.due()) == []
    jobs.declare("nightly", job(paused=True))
    clock.now += 5 * 86_400
    assert (list(jobs.due()), jobs.status("nightly").overdue) == ([], False)


def test_what_is_due_waits_while_its_repository_is_in_use(jobs: Jobs, job: Job, clock: Any) -> None:
    jobs.declare("nightly", job(schedule="0 0 1 1 *"))
    jobs.declare("other", job())
    clock.now += 5 * 86_400
    assert jobs.next_time() < clock.now
    seen: list[tuple[int, float]] = []
    jobs.run("nightly", lambda message, percent: seen.append((len(list(jobs.due())), jobs.next_time())))
    assert set(seen) == {(0, clock.now + 30)}, "no look in vain after the other"
    assert len(list(jobs.due())) == 1


def test_a_backup_is_good_though_old_ones_stay(jobs: Jobs, job: Job, tmp_path: Path, clock: Any) -> None:
    jobs.declare("nightly", job(retention={"last": 1}))
    jobs.run("nightly")
    clock.now += 86_400
    argv = ["restic", "-r", str(tmp_path / "repository"), "--password-file", str(tmp_path / "password")]
    locks = tmp_path / "repository/locks"
    with subprocess.Popen(
        [*argv, "--no-cache", "backup", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as other:
        assert other.stdin is not None
        other.stdin.write(b"what is backed up meanwhile")
        until(lambda: any(locks.iterdir()))
        run = jobs.run("nightly")
    assert (run.error, other.returncode) == ("", 0)
    assert "old snapshots were not let go of" in run.left
    record = jobs.status("nightly").record
    assert (record.last_success, record.error) == (clock.now, run.left)
    assert len(jobs.snapshots.of("nightly")) == 2
    assert jobs.run("nightly").left == jobs.status("nightly").record.error == ""
    assert len(jobs.snapshots.of("nightly")) == 1


def test_a_check_that_is_cancelled_says_nothing(jobs: Jobs, job: Job) -> None:
    jobs.declare("nightly", job())
    jobs.run("nightly")
    cancel = threading.Event()
    cancel.set()
    for work in (jobs.verify, jobs.test_restore):
        with pytest.raises(Cancelled, match=r"restic (check|restore) was cancelled"):
            work("nightly", quiet, cancel)
    record = jobs.status("nightly").record
    assert (record.last_check, record.check_error) == (0.0, "")
    assert (record.last_restore_test, record.restore_test_error) == (0.0, "")


def test_a_damaged_repository_is_told(jobs: Jobs, job: Job, tmp_path: Path) -> None:
    jobs.declare("nightly", job())
    jobs.run("nightly")
    pack = next(path for path in (tmp_path / "repository/data").rglob("*") if path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(b"x" + pack.read_bytes()[1:])
    with pytest.raises(ControlError, match="damaged"):
        jobs.verify("nightly", data_percent=100)
    assert "damaged" in jobs.status("nightly").record.check_error


def test_what_is_asked_wrongly(jobs: Jobs, job: Job, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no BackupJob"):
        jobs.run("absent")
    jobs.declare("nightly", job())
    jobs.run("nightly")
    stop = threading.Event()
    with pytest.raises(NotFound, match="no snapshot ffff"):
        jobs.snapshots.restore("nightly", "ffff", "", [], False, quiet, stop)
    with pytest.raises(InvalidRequest):
        jobs.snapshots.restore("nightly", "latest", "relative", [], False, quiet, stop)
    with pytest.raises(InvalidRequest):
        jobs.snapshots.restore("nightly", "latest", "/x", [], True, quiet, stop)
    with pytest.raises(WrongState, match="is not empty"):
        jobs.snapshots.restore("nightly", "latest", str(tmp_path), [], False, quiet, stop)
    with pytest.raises(WrongState, match="keeps everything"):
        jobs.snapshots.forget("nightly", dry_run=True, cancel=stop)
    with pytest.raises(InvalidRequest):
        jobs.snapshots.browse("nightly", "latest", "relative")
    with pytest.raises(InvalidRequest):
        jobs.verify("nightly", data_percent=101)
    assert jobs.status("nightly").record.check_error == ""
    assert jobs.drop("nightly")
    assert (tmp_path / "repository/config").exists()


def test_two_hosts_with_a_job_of_one_name_keep_their_own(
    jobs: Jobs, job: Job, engine: Engine, tmp_path: Path, clock: Any
) -> None:
    other = Jobs(
        engine,
        OwnState(Path("/absent"), Path("/")),
        MachineDisks(Path("/absent")),
        tmp_path / "other-host",
        clock=clock,
    )
    for one in (jobs, other):
        one.declare("nightly", job(retention={"last": 1}))
    theirs = other.run("nightly").snapshot
    # Set up anew, a host finds what was made before; once it has its own, that is meant.
    stop = threading.Event()
    _, found = jobs.snapshots.restore("nightly", "latest", str(tmp_path / "1"), [], False, quiet, stop)
    assert found.startswith(theirs)
    mine = [jobs.run("nightly").snapshot for _ in range(2)][-1]
    assert {one.id[:8] for one in jobs.snapshots.of("nightly")} == {theirs, mine}
    assert other.snapshots.forget("nightly", dry_run=False, cancel=stop) == []
    other.run("nightly")
    _, found = jobs.snapshots.restore("nightly", "latest", str(tmp_path / "2"), [], False, quiet, stop)
    assert found.startswith(mine)


def test_a_repository_is_one_however_it_is_written(jobs: Jobs, job: Job, clock: Any) -> None:
    jobs.declare("nightly", job())
    jobs.declare("other", job(repository=f"local:{job().repository}/"))
    seen: list[tuple[int, float]] = []

    def look(message: str, percent: int | None) -> None:
        clock.now += 5 * 86_400
        seen.append((len(list(jobs.due())), jobs.next_time() - clock.now))

    jobs.run("nightly", look)
    assert {due for due, _ in seen} == {0}
    assert all(left > 0 for _, left in seen)
    assert list(jobs.due())


def test_a_clock_that_was_ahead_holds_back_nothing(jobs: Jobs, job: Job, clock: Any) -> None:
    usual = clock.now
    clock.now += 10 * 365 * 86_400
    jobs.declare("nightly", job(checkSchedule="0 5 * * *"))
    jobs.run("nightly")
    jobs.verify("nightly")
    clock.now = usual
    assert list(jobs.due()) == []
    assert jobs.next_time() <= usual + 2 * 86_400
    clock.now += 3 * 86_400
    assert jobs.status("nightly").overdue
    assert len(list(jobs.due())) == 2


def test_a_full_disk_below_the_state_is_told(jobs: Jobs, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.declare("nightly", job(restoreTestSchedule="0 6 * * *"))
    jobs.run("nightly")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(WrongState, match="can't be restored for a test"):
        jobs.test_restore("nightly")
    assert "make room" in jobs.status("nightly").record.restore_test_error

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(jobs.restic, "backup", full)
    with pytest.raises(WrongState, match="No space left"):
        jobs.run("nightly")
    assert "disk is full" in jobs.status("nightly").record.error


def test_in_place_containers_are_stopped_meanwhile(
    jobs: Jobs, job: Job, run: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    run("db", "sleep infinity & wait", "--network", "none")
    jobs.declare("nightly", job(hooks=[PAUSE]))
    jobs.run("nightly")
    (tmp_path / "docs/a").write_text("spoilt")
    restore, states = jobs.restic.restore, []

    def look(*arguments: Any, **options: Any) -> None:
        states.append((engine.containers.inspect("db") or {})["State"]["Running"])
        restore(*arguments, **options)

    jobs.restic.restore = look  # type: ignore[method-assign]
    jobs.snapshots.restore("nightly", "latest", "", [], True, quiet, threading.Event())
    assert states == [False]
    assert (engine.containers.inspect("db") or {})["State"]["Running"]
    assert (tmp_path / "docs/a").read_bytes() == bytes(range(256)) * 40


def test_a_run_that_the_end_of_the_daemon_cut_off_is_made_up_for(jobs: Jobs, job: Job, clock: Any) -> None:
    jobs.declare("nightly", job())

    def end(message: str, percent: int | None) -> None:
        jobs.close()

    with pytest.raises(Cancelled):
        jobs.run("nightly", end)
    jobs.start()
    assert "interrupted" in jobs.status("nightly").record.error
    assert len(list(jobs.due())) == 1
    # Cut off again: what always ends the daemon would do so for ever.
    with pytest.raises(Cancelled):
        jobs.run("nightly", end)
    jobs.start()
    assert list(jobs.due()) == []


KILLED = """
import sys
from pathlib import Path
from services.homelab.backup.jobs import Jobs
from services.homelab.drivers.docker import DockerEngine
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState
engine = DockerEngine(sys.argv[1])
nothing = MachineDisks(Path("/absent"))
Jobs(engine, OwnState(Path("/absent"), Path("/")), nothing, Path(sys.argv[2])).run("nightly")
"""
POINTS = ("backup_opened", "backup_staged", "backup_journal_written", "backup_container_held", "backup_made")


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere(
    jobs: Jobs,
    job: Job,
    run: Callable[..., str],
    engine: Engine,
    daemon: Dockerd,
    tmp_path: Path,
    point: str,
    clock: Any,
) -> None:
    for name in ("db", "web"):
        run(name, "sleep infinity & wait", "--network", "none")
    dump = {
        "container": "db",
        "action": "BACKUP_HOOK_ACTION_DUMP",
        "command": ["echo", "rows"],
        "fileName": "all.sql",
    }
    jobs.declare("nightly", job(hooks=[PAUSE, STOP, dump]))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, daemon.address, str(tmp_path / "jobs")],
        env={**os.environ, failpoints.ENVIRONMENT: f"homelab.{point}=kill:1"},
        cwd=Path(__file__).resolve().parents[4],
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    again = Jobs(
        engine,
        OwnState(Path("/absent"), Path("/")),
        MachineDisks(Path("/absent")),
        tmp_path / "jobs",
        clock=clock,
    )
    again.start()
    states = [(engine.containers.inspect(name) or {})["State"] for name in ("db", "web")]
    assert [(state["Running"], state["Paused"]) for state in states] == [(True, False), (True, False)]
    assert not list((tmp_path / "jobs/work").rglob("all.sql"))
    assert "interrupted" in again.status("nightly").record.error
    [made_up] = again.due()
    made_up()
    assert again.status("nightly").record.error == ""
    assert list(again.due()) == []
    assert again.status("nightly").record.runs[0].snapshot
    again.verify("nightly", data_percent=100)
