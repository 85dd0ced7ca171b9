"""`ncc serve` as a command: what it is asked wrongly, what it says, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

import daemons
from daemons import Ncc


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("frobnicate",), 1, "there is no service 'frobnicate'"),
        (("--service", "vm"), 2, "is not NAME=SOCKET"),
        (("--service", "=x"), 2, "is not NAME=SOCKET"),
        (("--root", "/no/such/folder"), 2, "is no folder"),
        (("--metrics-port", "many"), 2, "invalid int value"),
        (("--socket", f"/tmp/{'x' * 200}"), 1, "Unix sockets allow"),
    ],
)
def test_what_is_wrong_is_told_at_once(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    state = ("--state-dir", str(tmp_path / "state"))
    socket = () if "--socket" in arguments else ("--socket", str(tmp_path / "s"))
    try:
        done = Ncc(tmp_path).run("serve", *state, *socket, *arguments, timeout=20)
    except subprocess.TimeoutExpired:
        pytest.fail("it runs")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_it_logs_as_json_and_ends_with_0(tmp_path: Path) -> None:
    with daemons.daemon(tmp_path, "system", "reconciler", "--log-format", "json") as started:
        assert started.stop(signal.SIGINT) == 0
        rows = [json.loads(line) for line in started.log.splitlines()]
    assert "ready" in [row["event"] for row in rows]
    assert not started.socket.exists()


def test_a_second_one_on_the_same_state_is_refused(tmp_path: Path) -> None:
    with daemons.daemon(tmp_path, "system", "reconciler") as first:
        again = ("--state-dir", str(tmp_path / "state"), "--socket", str(tmp_path / "other.sock"))
        done = first.run("serve", "reconciler", *again, timeout=20)
        assert done.returncode == 1
        assert "stop that daemon" in done.stderr
        assert first.run("get").returncode == 0
