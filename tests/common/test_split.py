"""The parent of `ncc serve --split`: restarts with backoff, ends its children in order, and those that hang too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from daemons import until

# Children note their life in files; what a child does stands in `{name}.does`.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from common import daemon, settings, split

folder = Path(sys.argv[1])
split._PATIENCE = 1.0
daemon.services = daemon.daemons = dict

def note(line):
    with (folder / "notes").open("a") as notes:
        notes.write(f"{time.monotonic()} {line} {os.getpid()}\\n")

def alone(chosen, name):
    note(f"start {name}")
    if (folder / f"{name}.does").exists():
        os._exit(3)
    signal.signal(signal.SIGTERM, lambda *_: (note(f"end {name}"), os._exit(0)))
    while True:
        signal.pause()

split._serve_alone = alone
note("parent of")
sys.exit(split.supervise(settings.ServeSettings(state_dir=folder, socket=folder / "s"), ("a", "b", "c")))
"""


class Parent:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)])

    def notes(self, word: str) -> list[tuple[float, str, int]]:
        """Time, name and process of each note."""
        path = self.folder / "notes"
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(float(at), name, int(pid)) for at, found, name, pid in rows if found == word]

    def alive(self) -> dict[str, int]:
        return {name: pid for _, name, pid in self.notes("start") if Path(f"/proc/{pid}").exists()}


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    made = Parent(tmp_path)
    try:
        until(lambda: len(made.alive()) == 3)
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()
        until(lambda: not made.alive())


def test_children_end_one_after_the_other_the_last_first(parent: Parent) -> None:
    parent.process.send_signal(signal.SIGTERM)

    assert parent.process.wait(10) == 0
    assert [name for _, name, _ in parent.notes("end")] == ["c", "b", "a"]
    assert not parent.alive()


def test_a_child_that_is_stopped_does_not_keep_the_rest_from_ending(parent: Parent) -> None:
    os.kill(parent.alive()["b"], signal.SIGSTOP)

    parent.process.send_signal(signal.SIGINT)

    assert parent.process.wait(10) == 0
    assert [name for _, name, _ in parent.notes("end")] == ["c", "a"]
    assert not parent.alive()


def test_one_that_dies_again_and_again_is_restarted_ever_more_seldom_and_the_others_stay(
    parent: Parent, tmp_path: Path
) -> None:
    before = parent.alive()
    (tmp_path / "b.does").touch()
    os.kill(before["b"], signal.SIGKILL)

    until(lambda: len([name for _, name, _ in parent.notes("start") if name == "b"]) >= 5, 20)

    times = [at for at, name, _ in parent.notes("start") if name == "b"][1:]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(later > earlier * 1.3 for earlier, later in pairwise(gaps)), gaps
    now = parent.alive()
    assert (now["a"], now["c"]) == (before["a"], before["c"])
    (tmp_path / "b.does").unlink()
    until(lambda: "b" in parent.alive(), 20)


def test_it_ends_while_one_waits_for_its_restart(parent: Parent, tmp_path: Path) -> None:
    (tmp_path / "b.does").touch()
    os.kill(parent.alive()["b"], signal.SIGKILL)
    until(lambda: len([name for _, name, _ in parent.notes("start") if name == "b"]) >= 4, 20)
    start = time.monotonic()

    parent.process.send_signal(signal.SIGTERM)

    assert parent.process.wait(10) == 0
    assert time.monotonic() - start < 5
