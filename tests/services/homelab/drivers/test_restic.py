"""Against Debian's restic and repositories in tmp_path."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import (
    Cancelled,
    CommandFailed,
    ControlError,
    Forbidden,
    HostUnavailable,
    NotFound,
    WrongState,
)
from services.homelab.drivers.restic import Restic
from services.homelab.drivers.restic_errors import Locked
from services.homelab.drivers.restic_repository import Repository

pytestmark = pytest.mark.host

PASSWORD = "canary-5f1c-never-told"


def quiet(message: str, percent: int | None) -> None:
    """Nobody listens."""


@pytest.fixture(autouse=True)
def _needs(require: Callable[..., None]) -> None:
    require(binary="restic")


@pytest.fixture
def restic(tmp_path: Path) -> Restic:
    return Restic(tmp_path / "work")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    return Repository(str(tmp_path / "repository"), password)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("first")
    (folder / "deep" / "-odd name\u2026").write_bytes(os.urandom(300_000))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def children() -> list[int]:
    """Our restic processes."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text()
        except OSError:
            continue
        if "(restic)" in fields and int(fields.rpartition(")")[2].split()[1]) == os.getpid():
            found.append(int(name))
    return found


def test_what_was_backed_up_is_restored_byte_by_byte(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path
) -> None:
    assert restic.init(repository)
    assert not restic.init(repository)
    percents: list[int] = []
    made = restic.backup(
        repository, [str(source)], tags=["job"], report=lambda _, percent: percents.append(percent or 0)
    )
    assert made.files == 2
    assert made.total_bytes == 300_005
    assert not made.skipped
    assert percents == sorted(percents)
    assert percents[-1] == 100
    (snapshot,) = restic.snapshots(repository, ["job"])
    assert snapshot.id.startswith(made.snapshot)
    assert restic.snapshots(repository, ["other"]) == []
    names: list[str] = []
    restic.browse(repository, snapshot.id, str(source), lambda node: names.append(node["name"]))
    assert sorted(names) == ["a.txt", "deep"]
    target = tmp_path / "restored"
    restic.restore(repository, snapshot.id, target)
    assert content(target / str(source).lstrip("/")) == content(source)
    with pytest.raises(WrongState, match="not empty"):
        restic.restore(repository, snapshot.id, target)
    (source / "a.txt").write_text("spoilt")
    restic.restore(repository, snapshot.id, Path("/"), include=[str(source / "a.txt")], in_place=True)
    assert (source / "a.txt").read_text() == "first"
    restic.check(repository, data_percent=100)


def test_a_password_that_is_a_word_of_the_output_spoils_nothing(
    restic: Restic, repository: Repository, source: Path
) -> None:
    repository.password_file.write_text("name\n")
    restic.init(repository)
    restic.backup(repository, [str(source)], tags=["job"], report=quiet)
    (snapshot,) = restic.snapshots(repository, ["job"])
    names: list[str] = []
    restic.browse(repository, snapshot.id, str(source / "deep"), lambda node: names.append(node["name"]))
    assert names == ["-odd name\u2026"]
    with pytest.raises(NotFound):
        restic.restore(repository, "0" * 8, source / "other")


def test_forgetting_touches_only_the_tags_own(restic: Restic, repository: Repository, source: Path) -> None:
    restic.init(repository)
    for tag in ("other", "job", "job"):
        restic.backup(repository, [str(source)], tags=[tag], report=quiet)
    kept = restic.snapshots(repository, ["job"])[-1]
    assert len(restic.forget(repository, tags=["job"], keep={"last": 1})) == 1
    assert restic.snapshots(repository, ["job"]) == [kept]
    assert len(restic.snapshots(repository, ["other"])) == 1
    with pytest.raises(WrongState, match="something to keep"):
        restic.forget(repository, tags=["job"], keep={"last": 0})


def test_bad_places_and_passwords_are_told(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match="no repository"):
        restic.open(repository)
    restic.init(repository)
    other = tmp_path / "other-password"
    other.write_text("wrong-canary-password")
    other.chmod(0o600)
    wrong = Repository(repository.address, other)
    with pytest.raises(Forbidden, match="does not open") as told:
        restic.init(wrong)
    assert "wrong-canary" not in str(told.value)
    with pytest.raises(WrongState, match="no repository: nothing was done"):
        restic.init(Repository(str(source), repository.password_file))
    with pytest.raises(WrongState, match="not there"):
        restic.backup(repository, [str(tmp_path / "gone")], tags=["job"], report=quiet)
    with pytest.raises(NotFound, match="no such snapshot"):
        restic.restore(repository, "0123abcd", tmp_path / "to")
    remote = Repository("rest:http://joe:hunter22@127.0.0.1:9/", repository.password_file)
    with pytest.raises(HostUnavailable, match="does not answer") as unreachable:
        restic.open(remote)
    assert "hunter22" not in str(unreachable.value)
    assert "hunter22" not in remote.shown
    other.chmod(0o644)
    with pytest.raises(Forbidden, match="chmod 600"):
        restic.open(wrong)


def test_the_password_shows_nowhere(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    restic.init(repository)
    (source / "big").write_bytes(os.urandom(30_000_000))
    seen: list[bytes] = []

    def look(message: str, percent: int | None) -> None:
        for pid in children():
            for name in ("environ", "cmdline"):
                try:
                    seen.append(Path(f"/proc/{pid}/{name}").read_bytes())
                except OSError:
                    continue

    restic.backup(repository, [str(source)], tags=["job"], report=look)
    assert any(b"RESTIC_PASSWORD_FILE" in one for one in seen)
    assert not any(PASSWORD.encode() in one for one in seen)
    assert PASSWORD not in "".join(capfd.readouterr())
    for path in (tmp_path / "work").rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes()


def test_cancelling_ends_restic_and_the_next_run_goes_on(
    restic: Restic, repository: Repository, source: Path
) -> None:
    restic.init(repository)
    (source / "big").write_bytes(os.urandom(60_000_000))
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        restic.backup(repository, [str(source)], tags=["job"], report=lambda *_: cancel.set(), cancel=cancel)
    assert not children()
    restic.backup(repository, [str(source)], tags=["job"], report=quiet)
    restic.check(repository)


def test_a_repository_killed_at_any_point_checks_clean(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path
) -> None:
    """NCC_RESTIC_KILLS says how many times: 50 take three minutes."""
    restic.init(repository)
    kills = int(os.environ.get("NCC_RESTIC_KILLS", "4"))
    chance = random.Random(7)
    for count in range(kills):
        (source / "big").write_bytes(chance.randbytes(8_000_000))
        ended = threading.Event()

        def kill(wait: float, ended: threading.Event = ended) -> None:
            deadline = time.monotonic() + 10
            while not (found := children()) and time.monotonic() < deadline:
                time.sleep(0.005)
            if not ended.wait(wait):
                for pid in found:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue

        killer = threading.Thread(target=kill, args=(chance.uniform(0, 1.5),))
        killer.start()
        try:
            restic.backup(repository, [str(source)], tags=["job"], report=quiet)
        except ControlError:
            pass
        ended.set()
        killer.join()
        restic.check(repository)
        print(f"kill {count + 1} of {kills}: clean")
    made = restic.backup(repository, [str(source)], tags=["job"], report=quiet)
    restic.check(repository, data_percent=100)
    restic.restore(repository, made.snapshot, tmp_path / "to")
    assert content(tmp_path / "to" / str(source).lstrip("/")) == content(source)


def test_names_that_are_patterns_are_restored_as_they_are(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path
) -> None:
    for name in ("a[1].txt", "a1.txt", "a*b", "axb", "back\\slash"):
        (source / name).write_text(name)
    restic.init(repository)
    made = restic.backup(repository, [str(source)], tags=["job"], report=quiet)
    wanted = ["a[1].txt", "a*b", "back\\slash"]
    restic.restore(
        repository, made.snapshot, tmp_path / "to", include=[str(source / name) for name in wanted]
    )
    assert sorted(content(tmp_path / "to" / str(source).lstrip("/"))) == sorted(wanted)


def test_what_is_not_in_a_snapshot_is_told(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path
) -> None:
    restic.init(repository)
    made = restic.backup(repository, [str(source)], tags=["job"], report=quiet)
    with pytest.raises(NotFound, match="is not in the snapshot"):
        restic.restore(repository, made.snapshot, tmp_path / "to", include=[str(source / "absent")])
    assert not (tmp_path / "to").exists()
    with pytest.raises(NotFound, match="is not in the snapshot"):
        restic.browse(repository, made.snapshot, "/absent", lambda _: None)
    found: list[str] = []
    restic.browse(
        repository, made.snapshot, f"{source}//../source/a.txt", lambda one: found.append(one["name"])
    )
    assert found == ["a.txt"]


def test_many_snapshots_are_one_long_line(tmp_path: Path, repository: Repository) -> None:
    one = {"id": "0" * 64, "time": "2026-12-01T00:00:00Z", "paths": ["/" + "a" * 4000], "tags": ["job"]}
    restic = Restic(tmp_path / "work", _stand_in(tmp_path, json.dumps([one] * 1000)))
    assert len(restic.snapshots(repository)) == 1000


def test_what_newer_versions_say_as_json_is_told(tmp_path: Path, repository: Repository) -> None:
    said = json.dumps({"message_type": "exit_error", "code": 1, "message": "Fatal: quite another thing"})
    restic = Restic(tmp_path / "work", _stand_in(tmp_path, "", said, 1))
    with pytest.raises(CommandFailed, match="quite another thing"):
        restic.open(repository)
    with pytest.raises(Forbidden, match="does not open"):
        Restic(tmp_path / "work", _stand_in(tmp_path, "", said, 12)).open(repository)


def test_a_backup_with_gaps_is_never_a_whole_one(tmp_path: Path, repository: Repository) -> None:
    """Exit code 3, whatever else it says of them."""
    summary = json.dumps({"message_type": "summary", "snapshot_id": "1" * 8})
    restic = Restic(tmp_path / "work", _stand_in(tmp_path, summary, "", 3))
    assert restic.backup(repository, ["/etc"], tags=["job"], report=quiet).skipped
    twice = [
        json.dumps({"message_type": "error", "error": error, "during": during, "item": "/etc/a"})
        for error, during in (
            ({"Op": "open", "Path": "/etc/a", "Err": 13}, "scan"),
            ({"message": "open /etc/a: Permission denied"}, "archival"),
        )
    ]
    restic = Restic(tmp_path / "work", _stand_in(tmp_path, summary, "\n".join(twice), 3))
    made = restic.backup(repository, ["/etc"], tags=["job"], report=quiet)
    assert made.skipped == ("open /etc/a: Permission denied",)
    with pytest.raises(WrongState, match="no snapshot"):
        Restic(tmp_path / "work", _stand_in(tmp_path, "")).backup(
            repository, ["/etc"], tags=["job"], report=quiet
        )


def _stand_in(folder: Path, output: str, messages: str = "", code: int = 0) -> str:
    """A program that says so, as a restic would that is not to be had here."""
    program = folder / "another-restic"
    program.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"print({output!r})\nprint({messages!r}, file=sys.stderr)\nsys.exit({code})\n"
    )
    program.chmod(0o700)
    return str(program)


def test_what_a_killed_daemon_left_running_is_ended(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path
) -> None:
    restic.init(repository)
    argv = ["restic", "--json", "--cache-dir", str(tmp_path / "work/cache"), "backup", "--stdin"]
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": repository.address,
        "RESTIC_PASSWORD_FILE": str(repository.password_file),
    }
    with subprocess.Popen(
        argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as left:
        # Reaped at once, as init does.
        threading.Thread(target=left.wait, daemon=True).start()
        deadline = time.monotonic() + 20
        while not list((tmp_path / "repository/locks").iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(left.pid, signal.SIGSTOP)  # so that it can't even clean up
        with pytest.raises(Locked):
            restic.check(repository)
        restic.end_left()
        assert left.wait(5) == -signal.SIGKILL
    restic.check(repository)


def test_a_lock_of_another_host_is_told_and_left(
    restic: Restic, repository: Repository, source: Path, tmp_path: Path, require: Callable[..., None]
) -> None:
    require(binary="unshare", root=True)
    restic.init(repository)
    argv = [
        "unshare",
        "--uts",
        "sh",
        "-c",
        'hostname elsewhere && exec restic "$@"',
        "sh",
        "backup",
        "--stdin",
    ]
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": repository.address,
        "RESTIC_PASSWORD_FILE": str(repository.password_file),
        "RESTIC_CACHE_DIR": str(tmp_path / "elsewhere"),
    }
    locks = tmp_path / "repository/locks"
    with subprocess.Popen(
        argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as other:
        deadline = time.monotonic() + 20
        while not list(locks.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other.kill()
    with pytest.raises(Locked, match="elsewhere") as told:
        restic.check(repository)
    assert "restic unlock" in told.value.next_step
    assert len(list(locks.iterdir())) == 1


def test_a_living_lock_is_respected(restic: Restic, repository: Repository, source: Path) -> None:
    restic.init(repository)
    (source / "big").write_bytes(os.urandom(60_000_000))
    outcome: list[Exception] = []

    def meanwhile(message: str, percent: int | None) -> None:
        if outcome or not (found := children()):
            return
        # Held, so that it can't end before the other has looked.
        os.kill(found[0], signal.SIGSTOP)
        try:
            restic.check(repository)
        except ControlError as error:
            outcome.append(error)
        finally:
            os.kill(found[0], signal.SIGCONT)

    restic.backup(repository, [str(source)], tags=["job"], report=meanwhile)
    assert outcome
    assert isinstance(outcome[0], Locked)
    restic.check(repository)


def test_json_that_is_none_is_a_complaint() -> None:
    from services.homelab.drivers.restic import _Output

    got: list[object] = []
    output = _Output(got.append)
    for line in ('{"a": 1}', '[{"b": 2}]', "{broken", "Fatal: no", ""):
        output.line(line)
    assert json.dumps(got) == '[{"a": 1}, {"b": 2}]'
    assert output.complaints == ["{broken", "Fatal: no"]


def test_a_password_that_is_a_word_of_its_messages(
    restic: Restic, repository: Repository, tmp_path: Path
) -> None:
    restic.init(repository)
    repository.password_file.write_text("password\n")
    with pytest.raises(Forbidden, match="the password does not open"):
        restic.open(repository)
