"""What follows: `ncc watch`, `ncc events -f`, `ncc hardware watch`, `ncc vm stats`, `ncc system health --follow`."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue
from typing import Any

import pytest

import daemons


@contextmanager
def following(ncc: Any, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Queue[str]]]:
    """A command that goes on, and its lines as they come."""
    process = subprocess.Popen(
        [daemons.NCC, *arguments],
        env=ncc.daemon.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: Queue[str] = Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()])
    reader.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    code = process.wait(10)
    assert process.stderr is not None
    return code, process.stderr.read()


def awaited(lines: Queue[str], part: str) -> str:
    while True:
        line = lines.get(timeout=10)
        if part in line:
            return line


def test_first_what_there_is_then_every_change_until_ctrl_c(ncc: Any) -> None:
    ncc.apply(ncc.file())
    with following(ncc, "watch", "file", ncc.name, "-o", "json") as (process, lines):
        first = json.loads(lines.get(timeout=10))
        ncc.apply(ncc.file(content="other\n"))
        second = json.loads(lines.get(timeout=10))
        assert interrupted(process) == (130, "")

    assert (first["type"], first["resource"]["spec"]["content"]) == ("created", "hello\n")
    assert (second["type"], second["resource"]["spec"]["content"]) == ("updated", "other\n")
    assert second["revision"] > first["revision"]


def test_a_deletion_is_told_to_people(ncc: Any) -> None:
    ncc.apply(ncc.file())
    with following(ncc, "watch", "file", "-l", f"test={ncc.name}") as (_, lines):
        assert "created" in lines.get(timeout=10)
        ncc.out("delete", "file", ncc.name)
        awaited(lines, f"  deleted  File/{ncc.name}")


def test_events_as_they_happen(ncc: Any) -> None:
    ncc.apply(ncc.file())
    with following(ncc, "events", "file", ncc.name, "-f", "-o", "json") as (process, lines):
        awaited(lines, '"reason": "Created"')
        (ncc.folder / "f").write_text("hacked\n")
        healed = json.loads(awaited(lines, '"reason": "Healed"'))
        assert interrupted(process) == (130, "")

    assert (healed["kind"], healed["name"], healed["type"]) == ("File", ncc.name, "NORMAL")
    assert healed["duration_ms"] > 0


@pytest.mark.parametrize(
    "arguments",
    [("vm", "stats", "-o", "json"), ("system", "health", "--follow", "--every", "200ms", "-o", "json")],
)
def test_figures_come_again_and_again(ncc: Any, arguments: tuple[str, ...]) -> None:
    with following(ncc, *arguments) as (process, lines):
        assert isinstance(json.loads(lines.get(timeout=10)), dict)
        assert isinstance(json.loads(lines.get(timeout=10)), dict)
        assert interrupted(process) == (130, "")


def test_watching_an_unknown_kind(ncc: Any) -> None:
    done = ncc.run("watch", "fiel")

    assert done.returncode == 2
    assert "\n  → " in done.stderr


def test_a_daemon_that_ends_ends_the_watch_with_7(tmp_path: Any) -> None:
    with daemons.daemon(tmp_path) as started:
        started.apply(daemons.file("a", "/a", "a"))
        place = type("Place", (), {"daemon": started})
        with following(place, "watch", "file") as (process, lines):
            lines.get(timeout=10)
            started.stop()
            assert process.wait(20) == 7
            assert process.stderr is not None
            assert "\n  → " in process.stderr.read()
