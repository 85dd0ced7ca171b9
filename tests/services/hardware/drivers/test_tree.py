from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.hardware.drivers.tree import Notes, Tree, ranges


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sys/devices/a").mkdir(parents=True)
    (tmp_path / "sys/class").mkdir()
    (tmp_path / "sys/class/a").symlink_to("../devices/a")
    (tmp_path / "sys/devices/a/text").write_text(" hello\n")
    (tmp_path / "sys/devices/a/empty").write_text("\n")
    (tmp_path / "sys/devices/a/hex").write_text("0x1f\n")
    (tmp_path / "sys/devices/a/flag").write_text("1\n")
    (tmp_path / "sys/devices/a/uevent").write_text("A=1\nB=x=y\nnonsense\n")
    return tmp_path


def test_reads_facts(root: Path) -> None:
    tree = Tree(root)
    assert not tree.live
    assert tree.text("/sys/class/a/text") == "hello"
    assert tree.text("/sys/class/a/empty") is None
    assert tree.text("/sys/class/a/missing") is None
    assert tree.text("/sys/class/a") is None
    assert tree.text("/sys/class/a\0") is None
    assert tree.number("/sys/class/a/hex", 16) == 31
    assert tree.number("/sys/class/a/text") is None
    assert tree.flag("/sys/class/a/flag") is True
    assert tree.flag("/sys/class/a/missing") is None
    assert tree.properties("/sys/class/a/uevent") == {"A": "1", "B": "x=y"}
    assert tree.names("/sys/class/a") == ["empty", "flag", "hex", "text", "uevent"]
    assert tree.names("/nowhere") == []
    assert tree.link("/sys/class/a") == "a"
    assert tree.real("/sys/class/a") == "/sys/devices/a"
    assert tree.is_folder("/sys/devices/a")
    assert not tree.is_folder("/sys/class/a")


def test_reads_all_of_a_long_file(root: Path) -> None:
    (root / "long").write_bytes(b"x" * 200_000)
    assert len(Tree(root).data("/long") or b"") == 200_000
    assert len(Tree(root).data("/long", 5000) or b"") == 5000
    # procfs answers in short pieces.
    assert (Tree().text("/proc/self/mountinfo") or "").splitlines()[-1] == Path(
        "/proc/self/mountinfo"
    ).read_text().splitlines()[-1]


def test_never_waits_for_a_pipe(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert Tree(root).text("/pipe") is None


def test_writes_only_what_may_be_written(root: Path) -> None:
    tree = Tree(root)
    tree.write("/sys/devices/a/text", "new")
    assert tree.text("/sys/devices/a/text") == "new"
    (root / "sys/devices/a/text").chmod(0o444)
    with pytest.raises(PermissionError):
        tree.write("/sys/devices/a/text", "newer")
    with pytest.raises(FileNotFoundError):
        tree.write("/sys/devices/a/missing", "x")
    tree.replace("/etc/modprobe.d/x.conf", "options x\n")
    assert (root / "etc/modprobe.d/x.conf").read_text() == "options x\n"
    assert os.listdir(root / "etc/modprobe.d") == ["x.conf"]
    tree.remove("/etc/modprobe.d/x.conf")
    tree.remove("/etc/modprobe.d/x.conf")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0-3,8", [0, 1, 2, 3, 8]), ("0", [0]), ("", []), (None, []), ("a-b", []), ("1-x", []), ("3-1", [])],
)
def test_kernel_lists(text: str | None, numbers: list[int]) -> None:
    assert ranges(text) == numbers


def test_the_first_reason_counts() -> None:
    notes = Notes()
    notes.absent("b", "one")
    notes.absent("b", "two")
    notes.absent("a", "three")
    assert [(absence.fact, absence.reason) for absence in notes.absences] == [("a", "three"), ("b", "one")]
