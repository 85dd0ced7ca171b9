from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from common import process
from common.errors import CommandFailed, HostUnavailable, Unsupported


def test_arguments_are_a_list_and_never_a_shell_string() -> None:
    hostile = "$(touch /tmp/x); `id` 'quoted' \"double\" \n -rf"

    done = process.run([sys.executable, "-c", "import sys; print(sys.argv[1], end='')", hostile])

    assert done.text == hostile


def test_a_missing_program_is_named() -> None:
    with pytest.raises(Unsupported, match="no-such-program is not installed"):
        process.run(["no-such-program"])


def test_a_failing_program_tells_its_exit_code_and_stderr() -> None:
    with pytest.raises(CommandFailed, match="exit code 3: broken") as caught:
        process.run([sys.executable, "-c", "import sys; sys.stderr.write('broken'); sys.exit(3)"])

    assert caught.value.exit_code == 3


def test_check_false_returns_the_exit_code() -> None:
    assert process.run([sys.executable, "-c", "raise SystemExit(4)"], check=False).exit_code == 4


def test_a_timeout_ends_the_whole_process_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import subprocess, sys, time, pathlib;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid));"
        "time.sleep(60)"
    )

    with pytest.raises(HostUnavailable, match="did not end within"):
        process.run([sys.executable, "-c", script, str(pids)], timeout=2)

    child = int(pids.read_text())
    deadline = time.monotonic() + 5
    while _runs(child):
        assert time.monotonic() < deadline, "the grandchild outlived the timeout"
        time.sleep(0.01)


def test_secrets_are_masked_in_the_error() -> None:
    code = "import os, sys; sys.stderr.write('bad key ' + os.environ['KEY']); sys.exit(1)"

    with pytest.raises(CommandFailed) as caught:
        process.run([sys.executable, "-c", code], env={"KEY": "s3cr3t-value"}, secrets=["s3cr3t-value"])

    assert "s3cr3t-value" not in str(caught.value)
    assert process.MASK in str(caught.value)


def test_input_reaches_the_program() -> None:
    done = process.run([sys.executable, "-c", "import sys; print(sys.stdin.read().upper())"], input=b"hello")

    assert done.stdout == b"HELLO\n"


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
    finally:
        os.sched_yield()
