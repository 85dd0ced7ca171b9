"""Long actions followed from a terminal, left, and come back to: with a real daemon."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import NCC, Daemon, daemon, until
from script_systems import ScriptHost

pytestmark = pytest.mark.host


@pytest.fixture
def host(tmp_path: Path, require: Any) -> ScriptHost:
    require(binary="nix-env")
    return ScriptHost(tmp_path)


@pytest.fixture
def ncc(host: ScriptHost) -> Iterator[Daemon]:
    with daemon(host.folder, env=host.environment) as started:
        yield started


def test_a_bar_on_a_terminal_and_none_in_a_pipe(host: ScriptHost, ncc: Daemon) -> None:
    host.install(host.system("a"))
    child, terminal = pty.fork()
    if child == 0:
        os.execve(NCC, [NCC, "generation", "switch", host.system("b", sleep=1)], ncc.env())
    seen = b""
    deadline = time.monotonic() + 30
    while b"confirmed" not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 4_096)
            except OSError:  # the other side of a terminal has gone
                break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)
    assert b"\r\x1b[K" in seen
    assert b" %" in seen

    piped = ncc.run("generation", "switch", host.system("c"))
    assert (piped.returncode, piped.stderr) == (0, "")
    assert "\r" not in piped.stdout


def test_who_leaves_is_told_how_to_come_back(host: ScriptHost, ncc: Daemon) -> None:
    host.install(host.system("a"))
    new = host.system("b", sleep=2)
    with subprocess.Popen(
        [NCC, "generation", "switch", new], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ncc.env()
    ) as client:
        until(lambda: host.actions == ["test b"])
        client.send_signal(signal.SIGINT)
        _, errors = client.communicate(timeout=20)
    assert client.returncode == 130
    assert "Traceback" not in errors.decode()
    name = errors.decode().partition("ncc operation wait ")[2].split()[0]

    assert ncc.run("operation", "wait", name).returncode == 0
    assert host.running == new


def test_no_longer_than_one_wants_to_wait(host: ScriptHost, ncc: Daemon) -> None:
    host.install(host.system("a"))
    done = ncc.run("generation", "switch", host.system("b", sleep=3), "--timeout", "600ms")
    assert done.returncode == 8
    assert "→ ncc operation wait " in done.stderr
    until(lambda: ncc.json("generation", "window")["state"] == "CONFIRMED")
