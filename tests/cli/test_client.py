"""The connection: no daemon, somebody else's daemon, a daemon of one's own, a daemon that hangs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import daemons
from daemons import daemon, file, until

_NOBODY = 65_534
_DROP = ("setpriv", "--reuid", str(_NOBODY), "--regid", str(_NOBODY), "--clear-groups")


@pytest.mark.parametrize(
    "command",
    [
        "apply -f -",
        "diff -f -",
        "get",
        "describe file x",
        "edit file x",
        "delete file x",
        "watch",
        "import vm",
        "reconcile --wait",
        "events",
        "suspend file x",
        "resume file x",
        "graph",
        "operation list",
        "system",
        "hardware",
        "vm",
    ],
)
def test_without_a_daemon_every_command_says_how_to_start_it(tmp_path: Path, command: str) -> None:
    done = daemons.Ncc(tmp_path).run(*command.split(), stdin="kind: File\n")

    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.splitlines() == [
        f"ncc {command.split()[0]}: the daemon does not run: there is no {tmp_path}/nixcc.sock",
        "  → start it with `ncc serve`, or name its socket with --socket or NCC_SOCKET",
    ]


def test_a_socket_path_that_no_socket_can_have(tmp_path: Path) -> None:
    done = daemons.Ncc(tmp_path).run("get", "--socket", "/" + "x" * 200)

    assert (done.returncode, done.stdout) == (2, "")
    assert "201 bytes; Unix sockets allow 107" in done.stderr


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    with daemon(tmp_path) as started:
        started.stop(signal.SIGKILL)
        done = started.run("get")

    assert done.returncode == 7
    assert "nobody answers at" in done.stderr
    assert "\n  → " in done.stderr


def test_a_daemon_that_says_nothing_is_given_up_soon(tmp_path: Path) -> None:
    ncc = daemons.Ncc(tmp_path)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(ncc.socket))
        silent.listen()
        start = time.monotonic()
        done = ncc.run("get")
    assert (done.returncode, time.monotonic() - start < 15) == (7, True)
    assert "hangs" in done.stderr


@pytest.fixture
def public(require: Any) -> Iterator[Path]:
    """A folder that everybody may enter, which nobody owns."""
    require(root=True)
    require(binary="setpriv")
    folder = Path(tempfile.mkdtemp(prefix="ncc-"))
    folder.chmod(0o755)
    os.chown(folder, _NOBODY, _NOBODY)
    probe = _as_nobody(folder, "version")
    try:
        require(when=probe.returncode == 0, reason="the program must be readable for everybody")
        yield folder
    finally:
        shutil.rmtree(folder)


def _as_nobody(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [*_DROP, daemons.NCC, *arguments],
            env={**daemons.Ncc(folder).env(), "HOME": str(folder), **env},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except PermissionError as error:
        return subprocess.CompletedProcess([], 126, "", str(error))


@pytest.mark.host
def test_somebody_elses_daemon_is_denied_with_4(public: Path) -> None:
    with daemon(public) as started:
        for command in (("get",), ("apply", "-f", "/dev/null"), ("vm",)):
            done = _as_nobody(public, *command)
            assert done.returncode == 4
            assert f"you may not use {started.socket}" in done.stderr
            assert "\n  → run ncc as the user who runs the daemon" in done.stderr


@pytest.mark.host
def test_everybody_can_run_one_of_their_own(public: Path) -> None:
    env = {
        **daemons.Ncc(public).env(),
        "HOME": str(public),
        "XDG_STATE_HOME": str(public / "state"),
        "XDG_RUNTIME_DIR": str(public / "run"),
    }
    del env["NCC_SOCKET"]
    root = public / "root"
    root.mkdir()
    os.chown(root, _NOBODY, _NOBODY)
    with (public / "log").open("wb") as log:
        process = subprocess.Popen(
            [*_DROP, daemons.NCC, "serve", "--root", str(root)],
            env=env,
            cwd="/",
            stdout=log,
            stderr=log,
        )
    try:
        xdg = {
            "XDG_STATE_HOME": env["XDG_STATE_HOME"],
            "XDG_RUNTIME_DIR": env["XDG_RUNTIME_DIR"],
            "NCC_SOCKET": "",
        }
        until(lambda: "answers, driver" in _as_nobody(public, "doctor", **xdg).stdout, 30, 0.1)
        (public / "a.json").write_text(json.dumps(file("a", "/a", "a\n")))
        done = _as_nobody(public, "apply", "-f", str(public / "a.json"), "--wait", **xdg)
        assert (done.returncode, done.stderr) == (0, "")
        assert (root / "a").stat().st_uid == _NOBODY
        assert (public / "state/nixcc/state.db").exists()
        assert (public / "run/nixcc/nixcc.sock").stat().st_mode & 0o777 == 0o600
    finally:
        process.terminate()
        assert process.wait(20) == 0
