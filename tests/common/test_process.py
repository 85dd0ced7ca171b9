from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from common import process
from common.errors import Cancelled, CommandFailed, HostUnavailable, Unsupported


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


def test_stream_hands_over_lines_as_they_come_and_keeps_both_outputs() -> None:
    code = (
        "import sys\nfor i in range(3): print(f'line {i}', file=sys.stderr, flush=True)\n"
        "print('out'); sys.stderr.write('end')"
    )
    lines: list[str] = []

    done = process.stream([sys.executable, "-c", code], on_line=lines.append)

    assert lines == ["line 0", "line 1", "line 2", "end"]
    assert done.text == "out\n"
    assert done.stderr == b"line 0\nline 1\nline 2\nend"


def test_stream_masks_secrets_in_lines_and_errors() -> None:
    lines: list[str] = []
    code = "import os, sys; sys.exit('no ' + os.environ['PASS'])"

    with pytest.raises(CommandFailed) as caught:
        process.stream(
            [sys.executable, "-c", code], on_line=lines.append, env={"PASS": "hunter2"}, secrets=["hunter2"]
        )

    assert lines == [f"no {process.MASK}"]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_stream_ends_the_whole_group(tmp_path: Path, how: str) -> None:
    cancel = threading.Event()
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.extend(map(int, line.split()))
        if how == "cancel":
            cancel.set()

    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '100'])\n"
        "print(os.getpid(), child.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(100)"
    )
    with pytest.raises(Cancelled if how == "cancel" else HostUnavailable):
        process.stream([sys.executable, "-c", code], on_line=on_line, cancel=cancel, timeout=2)

    assert len(pids) == 2
    deadline = time.monotonic() + 5
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_what_was_begun_in_a_session_of_its_own_ends_too(how: str) -> None:
    cancel = threading.Event()
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        if how == "cancel":
            cancel.set()

    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sh', '-c', 'sleep 100 & echo $! >&2; wait'], start_new_session=True)\n"
        "time.sleep(100)"
    )
    with pytest.raises(Cancelled if how == "cancel" else HostUnavailable):
        process.stream([sys.executable, "-c", code], on_line=on_line, cancel=cancel, timeout=2)

    deadline = time.monotonic() + 5
    while _runs(pids[0]):
        assert time.monotonic() < deadline, "the builder's child outlived it"
        time.sleep(0.01)


def test_a_program_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        "def end(*_): pathlib.Path(sys.argv[1]).write_text('cleaned up'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end); print('ready', file=sys.stderr, flush=True); time.sleep(100)"
    )
    cancel = threading.Event()

    with pytest.raises(Cancelled):
        process.stream(
            [sys.executable, "-c", code, str(tmp_path / "end")],
            on_line=lambda _: cancel.set(),
            cancel=cancel,
        )

    assert (tmp_path / "end").read_text() == "cleaned up"


def test_a_program_that_does_not_listen_is_killed() -> None:
    code = (
        "import os, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), file=sys.stderr, flush=True)\ntime.sleep(100)"
    )
    cancel = threading.Event()
    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        cancel.set()

    with pytest.raises(Cancelled):
        process.stream([sys.executable, "-c", code], on_line=on_line, cancel=cancel)

    assert not _runs(pids[0])


def test_a_line_without_an_end_comes_in_parts_and_in_time() -> None:
    size = 40_000_000
    lines: list[str] = []
    began = time.monotonic()

    process.stream(
        [sys.executable, "-c", f"import sys; sys.stderr.write('x' * {size} + '\\nend\\n')"],
        on_line=lines.append,
    )

    assert lines[-1] == "end"
    assert sum(map(len, lines[:-1])) == size
    assert max(map(len, lines)) < 2_000_000
    assert time.monotonic() - began < 10


def test_detached_programs_have_a_session_of_their_own(tmp_path: Path) -> None:
    code = "import os; print(os.getsid(0) == os.getpid())"

    process.detach([sys.executable, "-c", code], log_file=tmp_path / "log")

    deadline = time.monotonic() + 5
    while (tmp_path / "log").read_text() != "True\n":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_output_comes_line_by_line_however_long_and_apart_from_messages() -> None:
    code = (
        "import sys; sys.stdout.write('a' * 3_000_000 + '\\nsecond key'); sys.stderr.write('told key\\n');"
        "sys.stdout.flush()"
    )
    output: list[str] = []
    messages: list[str] = []

    done = process.stream(
        [sys.executable, "-c", code],
        on_line=messages.append,
        on_output=output.append,
        secrets=["key"],
    )

    assert [len(output[0]), output[1]] == [3_000_000, "second key"]
    assert messages == ["told ********"]
    assert done.stdout == b""
