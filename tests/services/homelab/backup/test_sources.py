"""What is backed up: volumes, and what is written down for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import Cancelled, ControlError, NotFound, WrongState
from dockerd import Dockerd
from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.hooks import Hold
from services.homelab.backup.sources import Sources, holds
from services.homelab.drivers import docker_streams
from services.homelab.drivers.base import Engine
from services.homelab.drivers.machine_disks import MachineDisks
from services.homelab.drivers.own_state import OwnState

pytestmark = pytest.mark.host


def quiet(message: str, percent: int | None) -> None:
    """Nobody listens."""


@pytest.fixture
def sources(engine: Engine, tmp_path: Path) -> Sources:
    return Sources(
        engine,
        OwnState(tmp_path / "absent.sock", Path("/")),
        MachineDisks(tmp_path / "vm.sock"),
        tmp_path / "work",
    )


def dump(script: str, container: str = "db") -> dict[str, Any]:
    return {
        "container": container,
        "action": "BACKUP_HOOK_ACTION_DUMP",
        "command": ["sh", "-c", script],
        "fileName": "all.sql",
    }


def test_volumes_by_their_folder(
    sources: Sources, job: Callable[..., pb.BackupJob], daemon: Dockerd, tmp_path: Path
) -> None:
    daemon.docker("volume", "create", "photos")
    with sources.staged("nightly", job(volumes=["photos"]), quiet, threading.Event()) as paths:
        assert paths[0] == str(tmp_path / "docs")
        assert paths[1].endswith("/volumes/photos/_data")
    with (
        pytest.raises(NotFound, match="no volume absent"),
        sources.staged("n", job(volumes=["absent"]), quiet, threading.Event()),
    ):
        pass
    daemon.docker("volume", "rm", "photos")


def test_what_a_program_says_is_kept_byte_by_byte(
    sources: Sources, job: Callable[..., pb.BackupJob], run: Callable[..., str], tmp_path: Path
) -> None:
    run("db", "sleep infinity", "--network", "none")
    script = "head -c 300000 /bin/busybox; echo noise >&2"
    with sources.staged("nightly", job(hooks=[dump(script)]), quiet, threading.Event()) as paths:
        written = Path(paths[-1]) / "all.sql"
        assert written.read_bytes() == Path("/bin/busybox").read_bytes()[:300_000]
        assert written.stat().st_mode & 0o777 == 0o600
        assert Path(paths[-1]).stat().st_mode & 0o777 == 0o700
    assert not written.exists()


def test_a_dump_that_fails_leaves_nothing(
    sources: Sources, job: Callable[..., pb.BackupJob], run: Callable[..., str], tmp_path: Path
) -> None:
    run("db", "sleep infinity", "--network", "none")
    wanted = job(hooks=[dump("echo half; echo no such table >&2; exit 4")])
    with (
        pytest.raises(WrongState, match="sh in db ended with 4: no such table"),
        sources.staged("n", wanted, quiet, threading.Event()),
    ):
        pass
    with (
        pytest.raises(ControlError),
        sources.staged("n", job(hooks=[dump("true", "absent")]), quiet, threading.Event()),
    ):
        pass
    assert not [path for path in (tmp_path / "work").rglob("*") if path.is_file()]


def test_a_dump_that_never_ends_is_let_go(
    sources: Sources,
    job: Callable[..., pb.BackupJob],
    run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run("db", "sleep infinity", "--network", "none")
    wanted, cancel = job(hooks=[dump("echo begun; sleep 1000")]), threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(Cancelled, match="sh in db"), sources.staged("n", wanted, quiet, cancel):
        pass
    monkeypatch.setattr("services.homelab.backup.sources._LONGEST", 0.3)
    with (
        pytest.raises(WrongState, match="did not end within"),
        sources.staged("n", wanted, quiet, threading.Event()),
    ):
        pass


@pytest.mark.parametrize("end", ["kill", "connection"])
def test_a_dump_that_is_cut_off_is_never_taken_for_a_whole_one(
    sources: Sources,
    job: Callable[..., pb.BackupJob],
    run: Callable[..., str],
    engine: Engine,
    daemon: Dockerd,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    run("db", "sleep infinity", "--network", "none")
    monkeypatch.setattr(docker_streams, "_ENDING", 0.5)
    session = engine.containers.exec("db", ["sh", "-c", "echo half; sleep 600"])
    read = session.read

    def cut() -> tuple[int, bytes] | None:
        piece = read()
        if piece is not None:
            # What it has said has come; it isn't at its end.
            if end == "kill":
                daemon.docker("kill", "db")
            else:
                session.close()
        return piece

    session.read = cut  # type: ignore[method-assign]
    monkeypatch.setattr(engine.containers, "exec", lambda *_: session)
    with (
        pytest.raises(ControlError, match="ended with 137" if end == "kill" else "ended with 129"),
        sources.staged("n", job(hooks=[dump("as above")]), quiet, threading.Event()),
    ):
        pass


def test_own_state_that_can_not_be_read(sources: Sources, job: Callable[..., pb.BackupJob]) -> None:
    with (
        pytest.raises(ControlError, match="own state"),
        sources.staged("n", job(ownState=True), quiet, threading.Event()),
    ):
        pass


def test_who_is_held(job: Callable[..., pb.BackupJob]) -> None:
    hooks = [
        {"container": "a", "action": "BACKUP_HOOK_ACTION_PAUSE"},
        {"container": "b", "action": "BACKUP_HOOK_ACTION_STOP"},
        dump("true"),
    ]
    assert holds(job(hooks=hooks)) == [("a", Hold.PAUSE), ("b", Hold.STOP)]
