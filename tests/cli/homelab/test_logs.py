"""`ncc homelab logs`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import Any

import pytest

from daemons import NCC, Daemon, until

pytestmark = pytest.mark.host
TICKS = "n=0; while :; do echo tick $n; n=$((n+1)); usleep 50000; done"


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
