"""`ncc homelab exec`: in pipes and on a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from typing import Any

import pytest

from daemons import NCC, Daemon, until
from dockerd import Dockerd

pytestmark = pytest.mark.host


def test_programs_in_pipes(ncc: Daemon, run: Any) -> None:
    run("web")
    done = ncc.run("homelab", "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")
    data = os.urandom(2_000_000)
    echoed = subprocess.run(
        [NCC, "homelab", "exec", "web", "cat"],
        input=data,
        env=ncc.env(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (echoed.returncode, echoed.stdout == data, echoed.stderr) == (0, True, b"")
    assert (
        ncc.out("homelab", "exec", "-u", "web", "-w", "/tmp", "web", "--", "sh", "-c", "id -un; pwd")
        == "web\n/tmp\n"
    )
    # -n leaves our input to whoever comes next.
    left = subprocess.run(
        ["sh", "-c", f"{NCC} homelab exec -n web cat; cat"],
        input="mine",
        env=ncc.env(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert left.stdout == "mine"


def test_a_program_on_a_terminal(ncc: Daemon, run: Any, docker: Dockerd) -> None:
    run("web")
    child, terminal = pty.fork()
    if child == 0:
        os.execve(NCC, [NCC, "homelab", "exec", "web", "sh"], ncc.env())
    try:
        _resize(terminal, 30, 100)
        os.kill(child, signal.SIGWINCH)
        _expect(terminal, b"# ")
        os.write(terminal, b"sleep 0.3; echo size '='$(stty size)\n")
        _expect(terminal, b"size =30 100")
        _resize(terminal, 41, 99)
        os.kill(child, signal.SIGWINCH)
        os.write(terminal, b"sleep 0.3; echo size '='$(stty size)\n")
        _expect(terminal, b"size =41 99")
        # Ctrl-C belongs to the program, not to us.
        os.write(terminal, b"sleep 100\n")
        _expect(terminal, b"sleep 100")
        until(lambda: "sleep 100" in docker.docker("top", "web").stdout)
        os.write(terminal, b"\x03")
        os.write(terminal, b"echo 'still' here; exit 9\n")
        _expect(terminal, b"still here")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    finally:
        os.close(terminal)


def _resize(terminal: int, rows: int, columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _expect(terminal: int, wanted: bytes) -> None:
    seen = b""
    deadline = time.monotonic() + 15
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4_096)


def test_a_container_that_does_not_run_says_how_to_find_out_why(ncc: Daemon, run: Any) -> None:
    run("ended", "exit 1")
    until(lambda: ncc.json("homelab", "show", "ended")["state"] == "EXITED")
    done = ncc.run("homelab", "exec", "ended", "--", "ls")
    assert done.returncode == 1
    assert "container ended does not run" in done.stderr
    assert "→ see why: ncc homelab logs ended" in done.stderr
