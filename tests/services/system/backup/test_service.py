"""Backups by policy: records, retention, missed runs, verification, restoring in place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pyrage
import pytest

from common.errors import AlreadyExists, Forbidden, HostUnavailable, InvalidRequest, NotFound, WrongState
from services.system.backup.models import MANUAL, Encryption, Keep, Key, Policy
from services.system.backup.service import Backups
from services.system.drivers.archive import ArchiveDriver, Job

IDENTITY = pyrage.x25519.Identity.generate()
PUBLIC = str(IDENTITY.to_public())
DAY = 86_400.0
KEY = Key("/key")
NIGHTLY = Policy(
    "nightly", "30 3 * * *", "/b", Encryption((PUBLIC,)), identity_file="/key", verify_schedule="0 5 * * 0"
)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A root with /etc/nixos and a key, and a state folder beside it."""
    (tmp_path / "root/etc/nixos/modules").mkdir(parents=True)
    (tmp_path / "root/etc/nixos/flake.nix").write_text("{ }\n")
    (tmp_path / "root/key").write_text(str(IDENTITY))
    (tmp_path / "state/vm").mkdir(parents=True)
    (tmp_path / "state/vm/seed").write_text("seed")
    (tmp_path / "state/lock").write_text("1")
    store = apsw.Connection(str(tmp_path / "state/state.db"))
    store.execute("CREATE TABLE t (a)")
    store.execute("INSERT INTO t VALUES ('kept')")
    store.close()
    (tmp_path / "state/state.db.bak").write_text("older")
    return tmp_path


@pytest.fixture
def backups(place: Path, clock: Clock) -> Backups:
    return Backups(place / "root", place / "state", ArchiveDriver(), clock=clock, zone=UTC)


def run_due(backups: Backups) -> int:
    jobs = list(backups.due())
    for job in jobs:
        job()
    return len(jobs)


def test_create_list_verify_restore(backups: Backups, place: Path) -> None:
    backups.declare(NIGHTLY)
    archive = backups.create(NIGHTLY, Job())
    assert archive.path.startswith("/b/nightly-")
    (listed,), (status,) = backups.listed()
    assert listed == archive == status.last_good
    assert not status.overdue
    contents = backups.verify(archive.path, Key(), Job())
    assert contents.databases == 1
    assert backups.listed()[0][0].verified == backups.clock()
    done = backups.restore(archive.path, Key(), "", Job(), nixos=False, store=False)
    assert done.target == archive.path.removesuffix(".tar.gz.age") + ".restored"
    target = place / "root" / done.target.lstrip("/")
    assert (target / "nixos/flake.nix").read_text() == "{ }\n"
    assert (target / "state/vm/seed").read_text() == "seed"
    assert sorted(one.name for one in (target / "state").iterdir()) == ["state.db", "system", "vm"]
    with pytest.raises(AlreadyExists):
        backups.restore(archive.path, Key(), "", Job(), nixos=False, store=False)


def test_restoring_in_place(backups: Backups, place: Path) -> None:
    archive = backups.create(replace(NIGHTLY, name=MANUAL), Job())
    (place / "root/etc/nixos/flake.nix").write_text("broken")
    done = backups.restore(archive.path, KEY, "/again", Job(), nixos=True, store=True)
    assert (place / "root/etc/nixos/flake.nix").read_text() == "{ }\n"
    assert (place / "root" / done.replaced.lstrip("/") / "flake.nix").read_text() == "broken"
    found = apsw.Connection(str(place / "state/state.db.restored"))
    assert found.execute("SELECT a FROM t").get == "kept"
    found.close()
    assert any("ncc doctor --restore" in step for step in done.next_steps)


def test_without_a_nixos_configuration(backups: Backups, place: Path) -> None:
    archive = backups.create(replace(NIGHTLY, nixos=False), Job())
    with pytest.raises(WrongState, match="holds no /etc/nixos"):
        backups.restore(archive.path, KEY, "/again", Job(), nixos=True, store=False)
    assert (place / "root/etc/nixos/flake.nix").read_text() == "{ }\n"
    assert (place / "root/again/state").is_dir()


def test_nothing_is_due_before_its_time_and_missed_runs_are_one(backups: Backups, clock: Clock) -> None:
    backups.declare(NIGHTLY)
    assert run_due(backups) == 0
    assert backups.next_time() == datetime(2026, 11, 25, 3, 30, tzinfo=UTC).timestamp()
    clock.now += 2.5 * DAY  # slept from Tuesday noon to Thursday midnight
    assert run_due(backups) == 1
    assert run_due(backups) == 0
    assert len(backups.listed()[0]) == 1
    assert backups.next_time() == datetime(2026, 11, 27, 3, 30, tzinfo=UTC).timestamp()


def test_a_restart_forgets_nothing(backups: Backups, place: Path, clock: Clock) -> None:
    backups.declare(NIGHTLY)
    clock.now += DAY
    run_due(backups)
    again = Backups(place / "root", place / "state", ArchiveDriver(), clock=clock, zone=UTC)
    assert run_due(again) == 0
    assert again.listed() == backups.listed()
    clock.now += DAY
    assert run_due(again) == 1


def test_retention(backups: Backups, clock: Clock) -> None:
    policy = replace(NIGHTLY, keep=Keep(daily=3), verify_schedule="")
    backups.declare(policy)
    manual = backups.create(replace(policy, name=MANUAL), Job())
    for _ in range(6):
        clock.now += DAY
        assert run_due(backups) == 1
    found = [archive for archive in backups.listed()[0] if archive.policy == "nightly"]
    assert len(found) == 3
    assert {archive.path for archive in backups.status(policy).record.archives} == {a.path for a in found}
    assert manual.path in {archive.path for archive in backups.listed()[0]}


def test_a_failing_run_is_told_and_tried_again(backups: Backups, place: Path, clock: Clock) -> None:
    policy = replace(NIGHTLY, folder="/blocked/b")
    (place / "root/blocked").write_text("a file is in the way")
    backups.declare(policy)
    clock.now += DAY
    assert run_due(backups) == 1
    status = backups.status(policy)
    assert "no folder" in status.record.error
    assert status.last_good is None
    assert status.next_run == clock.now + 3_600
    clock.now += 3_601
    (place / "root/blocked").unlink()
    assert backups.status(policy).overdue
    assert run_due(backups) == 1
    status = backups.status(policy)
    assert (status.record.error, status.overdue) == ("", False)
    assert status.last_good is not None


def test_a_run_that_was_killed_is_tried_again(
    backups: Backups, place: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups.declare(NIGHTLY)
    clock.now += DAY

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ArchiveDriver, "create", killed)
        with pytest.raises(KeyboardInterrupt):
            run_due(backups)
    again = Backups(place / "root", place / "state", ArchiveDriver(), clock=clock, zone=UTC)
    assert "interrupted" in again.status(NIGHTLY).record.error
    assert run_due(again) == 0
    clock.now += 3_601
    assert run_due(again) == 1
    assert again.status(NIGHTLY).record.error == ""


def test_verifying_by_schedule(backups: Backups, place: Path, clock: Clock) -> None:
    backups.declare(NIGHTLY)
    told: list[str] = []
    backups.changed = told.append
    clock.now += DAY
    run_due(backups)
    clock.now = datetime(2026, 11, 29, 5, 1, tzinfo=UTC).timestamp()
    assert run_due(backups) == 2  # the backup of the day, and the week's verification
    status = backups.status(NIGHTLY)
    assert status.record.verify_error == ""
    assert status.last_good is not None
    assert status.last_good.verified == clock.now
    assert set(told) == {"nightly"}
    # A bit rots: the next verification tells, and the archive is not good any more.
    path = place / "root" / status.last_good.path.lstrip("/")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    clock.now += 0.01
    with pytest.raises(WrongState):
        backups.verify(status.last_good.path, Key(), Job())
    assert backups.status(NIGHTLY).last_good != status.last_good
    assert any(archive.problem for archive in backups.listed()[0])


def test_a_cut_archive_is_seen_without_opening_it(backups: Backups, place: Path, clock: Clock) -> None:
    backups.declare(NIGHTLY)
    archive = backups.create(NIGHTLY, Job())
    path = place / "root" / archive.path.lstrip("/")
    path.write_bytes(path.read_bytes()[:-1])
    assert backups.status(NIGHTLY).last_good is None
    assert "bytes" in backups.listed()[0][0].problem
    path.unlink()
    assert backups.status(NIGHTLY).record.archives == ()
    assert backups.listed()[0] == []


def test_deleting(backups: Backups, clock: Clock) -> None:
    backups.declare(NIGHTLY)
    old = backups.create(NIGHTLY, Job())
    clock.now += 60
    new = backups.create(NIGHTLY, Job())
    with pytest.raises(WrongState, match="newest good"):
        backups.delete(new.path, force=False)
    backups.delete(old.path, force=False)
    backups.delete(new.path, force=True)
    assert backups.listed()[0] == []
    with pytest.raises(NotFound):
        backups.delete(new.path, force=True)
    for path in ("/etc/passwd", "/b/nightly.tar.gz.age", "relative"):
        with pytest.raises(InvalidRequest):
            backups.delete(path, force=True)


def test_archives_are_always_encrypted(backups: Backups) -> None:
    for encryption in (Encryption(), Encryption((PUBLIC,), "/p"), Encryption((str(IDENTITY),))):
        with pytest.raises(InvalidRequest) as caught:
            backups.create(replace(NIGHTLY, encryption=encryption), Job())
        assert str(IDENTITY) not in str(caught.value)


def test_a_secret_where_a_path_is_wanted(backups: Backups) -> None:
    archive = backups.create(NIGHTLY, Job())
    with pytest.raises(InvalidRequest, match="absolute") as caught:
        backups.verify(archive.path, Key(passphrase_file="not-a-path"), Job())
    assert "not-a-path" not in str(caught.value)


def test_archives_inside_of_what_is_backed_up(place: Path, clock: Clock) -> None:
    backups = Backups(Path("/"), place / "state", ArchiveDriver(), clock=clock, zone=UTC)
    (place / "key").write_text(str(IDENTITY))
    policy = replace(NIGHTLY, folder=str(place / "state/mine"), nixos=False, identity_file=str(place / "key"))
    first = backups.create(policy, Job())
    clock.now += 1
    second = backups.create(policy, Job())
    assert second.size < 2 * first.size
    done = backups.restore(second.path, policy.key, str(place / "again"), Job(), nixos=False, store=False)
    assert not (Path(done.target) / "state/mine").exists()
    with pytest.raises(InvalidRequest, match="subfolder"):
        backups.create(replace(policy, folder=str(place / "state")), Job())


def test_a_confined_root_is_not_left(backups: Backups, place: Path) -> None:
    (place / "root/out").symlink_to(place)
    with pytest.raises(Forbidden):
        backups.create(replace(NIGHTLY, folder="/out/b"), Job())
    with pytest.raises(InvalidRequest):
        backups.create(replace(NIGHTLY, folder="/b/../../x"), Job())


def test_one_run_of_a_policy_at_a_time(backups: Backups) -> None:
    def meanwhile(_: str) -> None:
        assert backups.status(NIGHTLY).running
        with pytest.raises(HostUnavailable, match="already"):
            backups.create(NIGHTLY, Job())

    backups.declare(NIGHTLY)
    backups.create(NIGHTLY, Job(meanwhile))
    assert not backups.status(NIGHTLY).running


def test_changing_the_schedule_misses_nothing(backups: Backups, clock: Clock) -> None:
    backups.declare(NIGHTLY)
    clock.now += 0.6 * DAY  # past 03:30: a run is due
    backups.declare(replace(NIGHTLY, schedule="0 12 * * *"))
    assert run_due(backups) == 0
    assert backups.next_time() == datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
    assert backups.forget("nightly")
    assert backups.next_time() == float("inf")
