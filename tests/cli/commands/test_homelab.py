"""`ncc homelab` against a real `ncc serve` and a real dockerd."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import NCC, Daemon, daemon, until
from dockerd import BUSYBOX, Dockerd, dockerd
from registry import push, registry

pytestmark = pytest.mark.host

TICKS = "n=0; while :; do echo tick $n; n=$((n+1)); usleep 50000; done"


@pytest.fixture(scope="module")
def docker(require: Any) -> Iterator[Dockerd]:
    require(binary="dockerd", root=True)
    with dockerd() as started:
        started.busybox()
        yield started


@pytest.fixture(scope="module")
def ncc(docker: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    environment = {"NCC_HOMELAB_ENGINE": docker.address}
    with daemon(tmp_path_factory.mktemp("homelab"), env=environment, services=("homelab",)) as started:
        yield started


@pytest.fixture
def run(docker: Dockerd) -> Iterator[Callable[..., str]]:
    made: list[str] = []

    def start(name: str, script: str = "sleep infinity", *options: str) -> str:
        made.append(name)
        arguments = ("run", "--detach", "--name", name, *options, BUSYBOX)
        docker.docker(*arguments, "sh", "-c", f"trap exit TERM; {script}")
        return name

    yield start
    docker.docker("rm", "--force", "--volumes", *made, check=False)


def test_containers_are_listed_and_shown(ncc: Daemon, run: Any) -> None:
    run(
        "web",
        TICKS,
        "--label",
        "com.docker.compose.project=shop",
        "--label",
        "com.docker.compose.service=front",
    )
    run("ended", "exit 3")
    until(lambda: ncc.json("homelab", "show", "ended")["state"] == "EXITED")
    table = ncc.out("homelab").splitlines()
    assert table[0].split() == ["NAME", "STATE", "STARTED", "IMAGE", "STACK", "PORTS"]
    assert table[1].startswith("ended  exited 3")
    assert re.match(rf"web +running +\d+s +{BUSYBOX} +shop", table[2])
    assert ncc.out("homelab", "list", "--stack", "shop", "-o", "name") == "web\n"
    assert [one["name"] for one in ncc.json("homelab", "list")["items"]] == ["ended", "web"]
    assert "stack     shop, service front" in ncc.out("homelab", "show", "web")
    assert "sh -c" in ncc.out("homelab", "top", "web")
    assert ncc.out("homelab", "restart", "web", "--grace", "0s") == "web restarted: running\n"
    assert ncc.json("homelab", "engine")["name"] == "docker"


def test_output_in_a_pipe_is_plain(ncc: Daemon, run: Any) -> None:
    run("one", "echo hello; echo bad >&2; sleep infinity")
    run("other", "printf 'a\\033[31mred\\033[0m\\n'; sleep infinity")
    until(lambda: ncc.out("homelab", "logs", "one").count("\n") == 2)
    assert sorted(ncc.out("homelab", "logs", "one").splitlines()) == ["bad", "hello"]
    assert ncc.out("homelab", "logs", "other") == "a\x1b[31mred\x1b[0m\n"
    both = ncc.out("homelab", "logs", "one", "other").splitlines()
    assert sorted(both) == ["one   | bad", "one   | hello", "other | a\x1b[31mred\x1b[0m"]
    rows = [json.loads(line) for line in ncc.out("homelab", "logs", "one", "-o", "json").splitlines()]
    assert {(row["container"], row["stderr"], row["line"]) for row in rows} == {
        ("one", False, "hello"),
        ("one", True, "bad"),
    }
    assert re.match(r"2\d{3}-\S+Z ", ncc.out("homelab", "logs", "one", "-t"))
    assert ncc.out("homelab", "logs", "one", "--tail", "1").count("\n") == 1
    assert ncc.out("homelab", "logs", "one", "--since", "2999-01-01T00:00:00Z") == ""


def test_ctrl_c_ends_what_follows(ncc: Daemon, run: Any) -> None:
    run("web", TICKS)
    for verb in (("logs", "-f", "web"), ("events", "--since", "1m"), ("stats", "--every", "0.5s")):
        process = subprocess.Popen(
            [NCC, "homelab", *verb], env=ncc.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == b""


def test_a_closed_pipe_ends_it_quietly(ncc: Daemon, run: Any) -> None:
    run("web", TICKS)
    done = subprocess.run(
        ["sh", "-c", f"{NCC} homelab logs -f web | head -1"],
        env=ncc.env(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("tick 0\n", "")


def test_following_ends_with_the_container(ncc: Daemon, run: Any) -> None:
    run("brief", "for n in 1 2 3 4 5; do echo $n; usleep 100000; done")
    assert ncc.out("homelab", "logs", "-f", "brief").split() == ["1", "2", "3", "4", "5"]


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


def test_statistics(ncc: Daemon, run: Any) -> None:
    run("busy", "while :; do :; done", "--cpus", "0.5")
    rows = ncc.json("homelab", "stats", "--once", "--every", "1s")["stats"]
    assert [row["container"] for row in rows] == ["busy"]
    assert 20 < rows[0]["cpu_percent"] < 80
    table = ncc.out("homelab", "stats", "busy", "--once", "--every", "0.5s").splitlines()
    assert table[1].startswith("busy")


def test_pruning_only_tells_unless_asked(ncc: Daemon, run: Any, docker: Dockerd) -> None:
    run("old", "true")
    until(lambda: ncc.json("homelab", "show", "old")["state"] == "EXITED")
    told = ncc.out("homelab", "prune", "--containers")
    assert "container" in told
    assert "--yes does it" in told
    assert ncc.run("homelab", "prune", "--yes", "--dry-run").returncode == 2
    assert "old" in ncc.out("homelab", "list", "-o", "name").split()
    assert "1 removed" in ncc.out("homelab", "prune", "--containers", "--yes")
    assert "old" not in ncc.out("homelab", "list", "-o", "name").split()
    assert ncc.out("homelab", "prune", "--containers") == "nothing is unused\n"


def test_images_come_and_newer_ones_are_told_of(
    ncc: Daemon, run: Any, docker: Dockerd, tmp_path: Path
) -> None:
    with registry(docker, tmp_path, 5020) as where:
        old = push(docker, BUSYBOX, f"{where}/app:1")
        assert ncc.out("homelab", "pull", f"{where}/app:1").endswith(f"app:1 was fetched: {old}\n")
        assert "is there already" in ncc.out("homelab", "pull", f"{where}/app:1")
        docker.docker("run", "--detach", "--name", "app", f"{where}/app:1")
        try:
            same = ncc.run("homelab", "updates", "app")
            assert (same.returncode, "current" in same.stdout) == (0, True)
            docker.busybox("newer:1", command=("true",))
            docker.docker("tag", f"{where}/app:1", "kept:1")
            new = push(docker, "newer:1", f"{where}/app:1")
            told = ncc.run("homelab", "updates", "app", "-o", "json")
            [row] = json.loads(told.stdout)["items"]
            assert (told.returncode, row["running_digest"], row["available_digest"]) == (3, old, new)
        finally:
            docker.docker("rm", "--force", "app")
    away = ncc.run("homelab", "pull", f"{where}/app:2")
    assert away.returncode == 7
    assert "does not answer" in away.stderr
    assert "→" in away.stderr


def test_an_engine_that_hangs_is_told_and_the_rest_goes_on(ncc: Daemon, docker: Dockerd) -> None:
    os.kill(docker.pid, signal.SIGSTOP)
    try:
        done = ncc.run("homelab", "engine", timeout=90)
        assert done.returncode == 7
        assert "hangs" in done.stderr
        assert ncc.run("get").returncode == 0
    finally:
        os.kill(docker.pid, signal.SIGCONT)
    assert "docker" in ncc.out("homelab", "engine")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("frobnicate",), 2),
        (("logs",), 2),
        (("logs", "absent"), 5),
        (("logs", "--stack", "absent"), 5),
        (("show", "absent"), 5),
        (("exec", "absent"), 2),
        (("exec", "absent", "--", "ls"), 5),
        (("top", "absent"), 5),
        (("restart", "absent"), 5),
        (("stats", "absent"), 5),
        (("updates", "absent"), 5),
        (("pull", "x", "--credentials", "relative"), 2),
    ],
)
def test_what_is_not_there(ncc: Daemon, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run("homelab", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("ncc homelab: ")
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_container_that_does_not_run_says_how_to_find_out_why(ncc: Daemon, run: Any) -> None:
    run("ended", "exit 1")
    until(lambda: ncc.json("homelab", "show", "ended")["state"] == "EXITED")
    done = ncc.run("homelab", "exec", "ended", "--", "ls")
    assert done.returncode == 1
    assert "container ended does not run" in done.stderr
    assert "→ see why: ncc homelab logs ended" in done.stderr


def test_completion(ncc: Daemon, run: Any) -> None:
    run("web")
    assert "logs" in ncc.out("completion", "words", "homelab").split()
    assert ncc.out("completion", "words", "homelab", "logs").split() == ["web"]
    assert ncc.out("completion", "words", "homelab", "exec", "web").split() == []
