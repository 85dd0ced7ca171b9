"""On a real dockerd, spoken to by docker's own command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from common.errors import NotFound
from services.homelab.backup.hooks import Hold, Hooks
from services.homelab.drivers.base import Containers
from tests.support.dockerd import Dockerd, dockerd

pytestmark = pytest.mark.host


class CommandContainers:
    """What hooks need of `Containers`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = ["docker", "--host", self._address, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    def _act(self, *arguments: str) -> None:
        ended = self._run(*arguments)
        if ended.returncode and "No such container" in ended.stderr:
            raise NotFound(ended.stderr)
        if ended.returncode and "is not paused" not in ended.stderr:
            raise AssertionError(ended.stderr)

    def inspect(self, name: str) -> dict[str, Any] | None:
        ended = self._run("inspect", "--type=container", name)
        return cast(dict[str, Any], json.loads(ended.stdout)[0]) if ended.returncode == 0 else None

    def pause(self, name: str) -> None:
        self._act("pause", name)

    def unpause(self, name: str) -> None:
        self._act("unpause", name)

    def start(self, name: str) -> None:
        self._act("start", name)

    def stop(self, name: str, grace: int | None = None) -> None:
        self._act("stop", "--time=0", name)


@pytest.fixture(scope="module")
def daemon(require: Callable[..., None]) -> Iterator[Dockerd]:
    require(binary="dockerd", root=True)
    with dockerd() as daemon:
        daemon.busybox()
        for name in ("db", "web", "idle"):
            daemon.docker("create", "--network=none", f"--name={name}", "busybox:1")
        daemon.docker("start", "db", "web")
        yield daemon


def hooks(daemon: Dockerd, tmp_path: Path) -> Hooks:
    return Hooks(cast(Containers, CommandContainers(daemon.address)), tmp_path / "journal.json")


def states(daemon: Dockerd) -> str:
    return daemon.docker("inspect", "--format={{.State.Status}}", "db", "web", "idle").stdout.replace(
        "\n", " "
    )


def test_containers_are_held_and_go_on_even_after_an_error(daemon: Dockerd, tmp_path: Path) -> None:
    one = hooks(daemon, tmp_path)
    with (
        pytest.raises(ZeroDivisionError),
        one.held([("db", Hold.PAUSE), ("web", Hold.STOP), ("idle", Hold.STOP)]),
    ):
        assert states(daemon) == "paused exited created "
        raise ZeroDivisionError
    assert states(daemon) == "running running created "
    assert not (tmp_path / "journal.json").exists()


def test_a_missing_container_holds_nothing(daemon: Dockerd, tmp_path: Path) -> None:
    with (
        pytest.raises(NotFound, match="gone"),
        hooks(daemon, tmp_path).held([("db", Hold.PAUSE), ("gone", Hold.STOP)]),
    ):
        raise AssertionError
    assert states(daemon) == "running running created "


@pytest.mark.parametrize(
    "point",
    [
        "homelab.backup_journal_written",
        "homelab.backup_container_held",
        "homelab.backup_container_held=kill:2",
    ],
)
def test_killed_anywhere_they_go_on_at_the_next_start(daemon: Dockerd, tmp_path: Path, point: str) -> None:
    point = point if "=" in point else f"{point}=kill"
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.services.homelab.backup.test_hooks import CommandContainers, Hold, Hooks\n"
        "with Hooks(CommandContainers(sys.argv[1]), Path(sys.argv[2])).held(\n"
        "    [('db', Hold.PAUSE), ('web', Hold.STOP)]):\n"
        "    pass\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, daemon.address, str(tmp_path / "journal.json")],
        env={**os.environ, "NCC_FAILPOINTS": point, "PYTHONPATH": os.getcwd()},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    hooks(daemon, tmp_path).recover()
    assert states(daemon) == "running running created "
