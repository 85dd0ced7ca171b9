"""Archives as files: named, locked, cancelled, killed and put in place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archives import DRIVER, TO_US, made, picture
from common.errors import (
    AlreadyExists,
    Cancelled,
    HostUnavailable,
)
from services.system.backup.models import SUFFIX, Key
from services.system.drivers.archive import Job
from services.system.drivers.archive_tree import Source


def test_nothing_is_overwritten(tmp_path: Path, tree: Path, key: Key) -> None:
    path = Path(made(tmp_path / "b", tree).path)
    with pytest.raises(AlreadyExists):
        DRIVER.restore(path, key, tree, Job())
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(AlreadyExists):
        DRIVER.restore(path, key, tmp_path / "dangling", Job())


def test_a_folder_is_replaced_in_one_step_and_kept(tmp_path: Path) -> None:
    (tmp_path / "fresh/sub").mkdir(parents=True)
    (tmp_path / "fresh/sub/a").write_text("new")
    (tmp_path / "fresh/l").symlink_to("sub")
    place = tmp_path / "etc/nixos"
    assert DRIVER.replace(tmp_path / "fresh", place) is None
    assert picture(place) == picture(tmp_path / "fresh")
    (place / "sub/a").write_text("old")
    former = DRIVER.replace(tmp_path / "fresh", place)
    assert former is not None
    assert (former / "sub/a").read_text() == "old"
    assert (place / "sub/a").read_text() == "new"
    second = DRIVER.replace(tmp_path / "fresh", place)
    assert second != former
    assert sorted(one.name for one in place.parent.iterdir()) == sorted(["nixos", former.name, second.name])  # type: ignore[union-attr]


def test_a_cancelled_job_leaves_nothing(tmp_path: Path, tree: Path, key: Key) -> None:
    path = Path(made(tmp_path / "b", tree).path)

    def cancelled(after: int) -> Job:
        event, count = threading.Event(), [0]

        def tell(_: str) -> None:
            count[0] += 1
            if count[0] == after:
                event.set()

        return Job(tell, event)

    work: list[Callable[[], object]] = [
        lambda: DRIVER.create(tmp_path / "b", "test", [Source("t", tree)], TO_US, None, cancelled(3)),
        lambda: DRIVER.verify(path, key, cancelled(3)),
        lambda: DRIVER.restore(path, key, tmp_path / "again", cancelled(3)),
        lambda: DRIVER.restore(path, key, tmp_path / "again", cancelled(12)),
    ]
    for job in work:
        with pytest.raises(Cancelled):
            job()
    assert [one.name for one in (tmp_path / "b").iterdir()] == [path.name]
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".nixcc*"))


def test_two_jobs_in_one_folder(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.system.drivers.archive.WAIT", 0.2)

    def second(_: str) -> None:
        with pytest.raises(HostUnavailable, match="another backup job"):
            made(tmp_path / "b", tree)

    DRIVER.create(tmp_path / "b", "test", [Source("t", tree)], TO_US, None, Job(second))


def test_a_job_waits_for_another_one(tmp_path: Path, tree: Path) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(_: str) -> None:
        started.set()
        assert go.wait(10)

    first = threading.Thread(
        target=lambda: DRIVER.create(tmp_path / "b", "a", [Source("t", tree)], TO_US, None, Job(slow))
    )
    first.start()
    assert started.wait(10)

    def told(message: str) -> None:
        go.set()
        messages.append(message)

    messages: list[str] = []
    DRIVER.create(tmp_path / "b", "b", [Source("t", tree)], TO_US, None, Job(told))
    first.join()
    assert messages[0].startswith("waiting for another job")
    assert len(list((tmp_path / "b").iterdir())) == 2


def test_two_archives_of_one_moment_have_names_of_their_own(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_795_491_225.0)
    assert len({made(tmp_path / "b", tree).path for _ in range(3)}) == 3


@pytest.mark.host
def test_a_full_disk(tmp_path: Path, tree: Path, key: Key, require: Any) -> None:
    require(root=True, binary="mount")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], check=False
    ).returncode:
        require(when=False, reason="file systems can't be mounted here")
    try:
        with pytest.raises(HostUnavailable, match="No space left"):
            made(small, tree)
        assert list(small.iterdir()) == []
        archive = made(tmp_path / "b", tree)
        with pytest.raises(HostUnavailable, match=r"No space left|no room"):
            DRIVER.restore(Path(archive.path), key, small / "again", Job())
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


_RUN = """
import sys
from pathlib import Path
from services.system.backup.models import Encryption, Key
from services.system.drivers.archive import ArchiveDriver, Job
from services.system.drivers.archive_tree import Source
folder, tree, recipient, key, archive = sys.argv[1:]
driver = ArchiveDriver()
if archive:
    driver.restore(Path(archive), Key(key), Path(folder) / "again", Job())
else:
    driver.create(Path(folder), "test", [Source("tree0", Path(tree))], Encryption((recipient,)), None, Job())
"""


def killed(point: str, *arguments: object) -> int:
    environment = {**os.environ, "NCC_FAILPOINTS": f"{point}=kill"}
    command = [sys.executable, "-c", _RUN, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("point", ["backup.before_finish", "backup.before_rename", "backup.after_rename"])
def test_killed_while_making_one(tmp_path: Path, tree: Path, key: Key, point: str) -> None:
    folder = tmp_path / "b"
    code = killed(point, folder, tree, TO_US.recipients[0], key.identity_file, "")
    assert code == -signal.SIGKILL
    whole = list(folder.glob(f"*{SUFFIX}"))
    assert len(whole) == (1 if point == "backup.after_rename" else 0)
    for path in whole:
        DRIVER.verify(path, key, Job())
    again = made(folder, tree)
    assert sorted(one.name for one in folder.iterdir()) == sorted(
        [*(one.name for one in whole), Path(again.path).name]
    )


def test_killed_while_restoring_one(tmp_path: Path, tree: Path, key: Key) -> None:
    archive = made(tmp_path / "b", tree).path
    target = tmp_path / "place"
    target.mkdir()
    assert killed("backup.before_restored", target, tree, "", key.identity_file, archive) == -signal.SIGKILL
    assert not (target / "again").exists()
    DRIVER.restore(Path(archive), key, target / "again", Job())
    assert [one.name for one in target.iterdir()] == ["again"]
    assert picture(target / "again/tree0") == picture(tree)


def test_killed_right_after_a_folder_was_exchanged(tmp_path: Path) -> None:
    for name in ("fresh", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    script = (
        "import sys; from pathlib import Path; from services.system.drivers.archive import ArchiveDriver; "
        "ArchiveDriver().replace(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "fresh"), str(tmp_path / "place")]
    environment = {**os.environ, "NCC_FAILPOINTS": "backup.exchanged=kill"}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    [former] = tmp_path.glob("place.before-*")

    DRIVER.replace(tmp_path / "fresh", tmp_path / "place")

    assert (tmp_path / "place/file").read_text() == "fresh"
    assert (former / "file").read_text() == "place", "what was there is kept"
    assert not list(tmp_path.glob(".*"))
