"""Hints about paths: every way in which something at or above a held path can change."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from services.system.drivers.path_hints import PathHints

SECONDS = 5.0


class Heard:
    """What was emitted, and how to wait for it."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()

    def emit(self, keys: Sequence[str]) -> None:
        self.queue.put(tuple(keys))

    def until(self, *wanted: str) -> None:
        """Returns when all of them were told (in any number of batches)."""
        missing = set(wanted)
        deadline = time.monotonic() + SECONDS
        while missing:
            missing -= set(self.queue.get(timeout=max(0.0, deadline - time.monotonic())))

    def overflow(self) -> None:
        deadline = time.monotonic() + SECONDS
        while self.queue.get(timeout=max(0.0, deadline - time.monotonic())) != ():
            pass

    def clear(self) -> None:
        while not self.queue.empty():
            self.queue.get()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def hints(tmp_path: Path, heard: Heard) -> Iterator[PathHints]:
    made = PathHints(tmp_path, heard.emit)
    yield made
    made.close()


def fresh(hints: PathHints, heard: Heard) -> None:
    """Waits until what was done before is no longer told: a marker file closes the books."""
    hints.hold(["/marker"])
    marker = hints._root_path / "marker"
    marker.write_text("x")
    marker.unlink()
    heard.until("/marker")
    heard.clear()


CHANGES: dict[str, Callable[[Path], object]] = {
    "write": lambda p: p.write_text("changed"),
    "append": lambda p: p.open("a").write("more"),
    "chmod": lambda p: p.chmod(0o600),
    "touch": lambda p: os.utime(p),
    "delete": lambda p: p.unlink(),
    "rename away": lambda p: p.rename(p.with_name("else")),
    "rename over": lambda p: (p.with_name("other").write_text("o"), p.with_name("other").rename(p)),
    "link over": lambda p: (p.unlink(), p.symlink_to("x")),
    "folder over": lambda p: (p.unlink(), p.mkdir()),
    "truncate": lambda p: os.truncate(p, 0),
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_change_is_told(tmp_path: Path, hints: PathHints, heard: Heard, change: str) -> None:
    path = tmp_path / "etc/motd"
    path.parent.mkdir()
    path.write_text("hello")
    hints.hold(["/etc/motd", "/etc/other-key"])
    CHANGES[change](path)
    heard.until("/etc/motd")


def test_missing_folders_are_waited_for(tmp_path: Path, hints: PathHints, heard: Heard) -> None:
    hints.hold(["/a/b/c/f"])
    (tmp_path / "a/b/c").mkdir(parents=True)
    heard.until("/a/b/c/f")
    (tmp_path / "a/b/c/f").write_text("x")
    heard.until("/a/b/c/f")


def test_folder_made_and_filled_at_once(tmp_path: Path, hints: PathHints, heard: Heard) -> None:
    hints.hold(["/a/b/f"])
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/f").write_text("x")
    heard.until("/a/b/f")


@pytest.mark.parametrize("which", ["a", "a/b", "a/b/c"])
def test_folder_moved_away_and_back(tmp_path: Path, hints: PathHints, heard: Heard, which: str) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)
    hints.hold(["/a/b/c/f", "/a/b/c/g"])
    (tmp_path / which).rename(tmp_path / "away")
    heard.until("/a/b/c/f", "/a/b/c/g")
    fresh(hints, heard)
    (tmp_path / "away").rename(tmp_path / which)
    heard.until("/a/b/c/f", "/a/b/c/g")
    fresh(hints, heard)
    (tmp_path / "a/b/c/g").write_text("x")
    heard.until("/a/b/c/g")


def test_tree_deleted_and_made_anew(tmp_path: Path, hints: PathHints, heard: Heard) -> None:
    for _ in range(5):
        (tmp_path / "a/b").mkdir(parents=True)
        (tmp_path / "a/b/f").write_text("x")
        hints.hold(["/a/b/f"])
        shutil.rmtree(tmp_path / "a")
        heard.until("/a/b/f")
        fresh(hints, heard)
    (tmp_path / "a/b").mkdir(parents=True)
    heard.until("/a/b/f")
    fresh(hints, heard)
    (tmp_path / "a/b/f").write_text("x")
    heard.until("/a/b/f")


def test_old_folder_under_a_new_name_tells_nothing(tmp_path: Path, hints: PathHints, heard: Heard) -> None:
    (tmp_path / "a").mkdir()
    hints.hold(["/a/f"])
    (tmp_path / "a").rename(tmp_path / "old")
    heard.until("/a/f")
    fresh(hints, heard)
    (tmp_path / "old/f").write_text("x")
    (tmp_path / "marker").write_text("y")
    told = heard.queue.get(timeout=SECONDS)
    assert set(told) == {"/marker"}


def test_link_to_a_folder_is_followed_and_its_change_told(
    tmp_path: Path, hints: PathHints, heard: Heard
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "way").symlink_to("one")
    hints.hold(["/way/f", "/one/f"])
    (tmp_path / "one/f").write_text("x")
    heard.until("/way/f", "/one/f")
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").rename(tmp_path / "way")
    heard.until("/way/f")
    fresh(hints, heard)
    (tmp_path / "two/f").write_text("x")
    heard.until("/way/f")


def test_drop(tmp_path: Path, hints: PathHints, heard: Heard) -> None:
    hints.hold(["/a/f", "/g"])
    hints.drop(["/a/f", "/never/held"])
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f").write_text("x")
    (tmp_path / "g").write_text("x")
    heard.until("/g")
    fresh(hints, heard)
    hints.drop(["/g", "/marker"])
    assert set(hints._folders) == {""}


def test_root_deleted_and_made_anew(tmp_path: Path, heard: Heard) -> None:
    root = tmp_path / "root"
    root.mkdir()
    hints = PathHints(root, heard.emit)
    try:
        hints.hold(["/a/f"])
        root.rmdir()
        (root / "a").mkdir(parents=True)
        assert heard.queue.get(timeout=SECONDS) in ((), ("/a/f",))  # depends on when it looked
        fresh(hints, heard)
        (root / "a/f").write_text("x")
        heard.until("/a/f")
    finally:
        hints.close()


def test_root_that_comes_later(tmp_path: Path, heard: Heard) -> None:
    hints = PathHints(tmp_path / "later", heard.emit)
    try:
        hints.hold(["/f"])
        (tmp_path / "later").mkdir()
        heard.overflow()
        (tmp_path / "later/f").write_text("x")
        heard.until("/f")
    finally:
        hints.close()


def test_lost_events_are_told_and_the_watches_still_hold(
    tmp_path: Path, hints: PathHints, heard: Heard
) -> None:
    (tmp_path / "a").mkdir()
    hints.hold(["/a/f"])
    with hints._lock:  # nobody reads meanwhile
        (tmp_path / "a").rename(tmp_path / "b")
        limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        noise = [tmp_path / "n1", tmp_path / "n2"]
        for number in range(limit // 2 + 2):
            noise[number % 2].touch()
            noise[number % 2].unlink()
        (tmp_path / "a").mkdir()
    heard.overflow()
    (tmp_path / "a/f").write_text("x")
    heard.until("/a/f")


# In a user namespace of its own: the kernel's limit is a count per user, and others here have watches too.
OUT_OF_WATCHES = """
import ctypes, os, queue, sys
from pathlib import Path
uid = os.getuid()
if ctypes.CDLL(None).unshare(0x10000000) != 0:  # CLONE_NEWUSER
    sys.exit(77)
Path("/proc/self/setgroups").write_text("deny")
Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
limit = Path("/proc/sys/user/max_inotify_watches")
limit.write_text("4")
from services.system.drivers.path_hints import PathHints
root, told = Path(sys.argv[1]), queue.SimpleQueue()
for number in range(10):
    (root / f"d{number}").mkdir()
hints = PathHints(root, told.put)
hints.hold([f"/d{number}/f" for number in range(10)])
assert hints.exhausted
(root / "d0/f").write_text("x")
assert told.get(timeout=5) == ("/d0/f",)
limit.write_text("100")
with hints._lock:
    again = hints._retry()
assert set(again) == {f"/d{number}/f" for number in range(3, 10)}, again
assert not hints.exhausted
(root / "d9/f").write_text("x")
while "/d9/f" not in told.get(timeout=5):
    pass
hints.close()
"""


def test_out_of_watches(tmp_path: Path, require: Callable[..., None]) -> None:
    """The rest is watched, the missing ones are told, and watched once there is room."""
    ran = subprocess.run(
        [sys.executable, "-c", OUT_OF_WATCHES, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    require(when=ran.returncode != 77, reason="user namespaces are not allowed here")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("out of inotify watches") == 1


def test_endless_writing_is_gathered(tmp_path: Path, hints: PathHints, heard: Heard) -> None:
    (tmp_path / "f").write_text("x")
    hints.hold(["/f"])
    end, writes = time.monotonic() + 0.5, 0
    with (tmp_path / "f").open("w") as file:
        while time.monotonic() < end:
            file.write("x")
            file.flush()
            writes += 1
    heard.until("/f")
    told = 1
    while not heard.queue.empty():
        heard.queue.get()
        told += 1
    assert writes > 10 * told


def test_many_keys_and_a_clean_end(tmp_path: Path) -> None:
    """Threads and descriptors are gone afterwards."""
    script = (
        "import os,sys,threading\n"
        "from pathlib import Path\n"
        "from services.system.drivers.path_hints import PathHints\n"
        "before=len(os.listdir('/proc/self/fd'))\n"
        "h=PathHints(Path(sys.argv[1]),lambda k:None)\n"
        "h.hold([f'/d{i%7}/f{i}' for i in range(10000)])\n"
        "h.close()\n"
        "assert len(os.listdir('/proc/self/fd'))==before, os.listdir('/proc/self/fd')\n"
        "assert threading.active_count()==1\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=30)
