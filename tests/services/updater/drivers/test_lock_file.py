"""The lock file is the old one or the new one, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import Conflict, Forbidden, HostUnavailable, NotFound, WrongState
from services.updater.drivers import lock_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "flake"
    made.mkdir()
    (made / "flake.nix").write_text("{ }\n")
    (made / "flake.lock").write_bytes(b"old")
    return made


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def test_replaced_with_owner_and_mode(folder: Path) -> None:
    (folder / "flake.lock").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(folder / "flake.lock", 12, 34)
    lock_file.install(folder, b"old", b"new")
    found = (folder / "flake.lock").stat()
    assert lock_file.read(folder) == b"new"
    assert found.st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert (found.st_uid, found.st_gid) == (12, 34)
    assert names(folder) == {"flake.nix", "flake.lock"}


def test_link_stays_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "flake.lock").rename(tmp_path / "real.lock")
    (folder / "flake.lock").symlink_to("../real.lock")
    lock_file.install(folder, b"old", b"new")
    assert (folder / "flake.lock").is_symlink()
    assert (tmp_path / "real.lock").read_bytes() == b"new"


def test_new_and_removed(folder: Path) -> None:
    lock_file.install(folder, b"old", b"")
    assert names(folder) == {"flake.nix"}
    lock_file.install(folder, b"", b"new")
    assert lock_file.read(folder) == b"new"


def test_not_what_was_expected(folder: Path) -> None:
    with pytest.raises(Conflict):
        lock_file.install(folder, b"older", b"new")
    assert lock_file.read(folder) == b"old"


def test_no_flake(tmp_path: Path) -> None:
    for call in (lock_file.read, lock_file.require_flake, lambda f: lock_file.owned(f).__enter__()):
        with pytest.raises(NotFound, match=r"no flake\.nix"):
            call(tmp_path)
        with pytest.raises(NotFound, match="there is no"):
            call(tmp_path / "none")


def test_other_things_than_files(folder: Path) -> None:
    (folder / "flake.lock").unlink()
    (folder / "flake.lock").mkdir()
    with pytest.raises(WrongState):
        lock_file.read(folder)


def test_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostUnavailable, match="No space left"):
        lock_file.install(folder, b"old", b"new")
    monkeypatch.undo()
    assert lock_file.read(folder) == b"old"
    assert names(folder) == {"flake.nix", "flake.lock"}


@pytest.fixture
def read_only(folder: Path, require: Callable[..., None]) -> Iterator[Path]:
    """The folder, on a file system that can't be written."""
    require(root=True)
    bind = ["mount", "--bind", str(folder), str(folder)]
    done = subprocess.run(bind, check=False, capture_output=True, text=True)
    require(when=done.returncode == 0, reason=f"this machine forbids mounts: {done.stderr.strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.host
def test_read_only_folder(read_only: Path) -> None:
    with pytest.raises(Forbidden, match="Read-only") as caught:
        lock_file.check_writable(read_only)
    assert caught.value.next_step
    with pytest.raises(Forbidden):
        lock_file.install(read_only, b"old", b"new")
    assert lock_file.read(read_only) == b"old"
    with lock_file.owned(read_only):
        pass


def test_checking_leaves_nothing(folder: Path) -> None:
    lock_file.check_writable(folder)
    assert names(folder) == {"flake.nix", "flake.lock"}


OWNER = """
import sys, time
from pathlib import Path
from services.updater.drivers import lock_file
with lock_file.owned(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def test_other_processes_are_kept_off_until_they_die(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"mine\n"
            with pytest.raises(Conflict, match="runs already"), lock_file.owned(folder):
                pass
        finally:
            other.kill()
    with lock_file.owned(folder):
        pass


WRITER = """
import itertools, sys
from pathlib import Path
from services.updater.drivers import lock_file
folder = Path(sys.argv[1])
print("begun", flush=True)
for i in itertools.count():
    a, b = (b"a" * 300_000, b"b" * 300_000)
    lock_file.install(folder, lock_file.read(folder), a if i % 2 else b)
"""


@pytest.mark.parametrize("seed", range(5))
def test_killed_while_writing(folder: Path, seed: int) -> None:
    """kill -9 at any point leaves a whole file; what else it leaves is swept by the next."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(3 + 7 * seed):
            assert lock_file.read(folder) in (b"old", b"a" * 300_000, b"b" * 300_000)
        writer.kill()
    found = lock_file.read(folder)
    assert found in (b"old", b"a" * 300_000, b"b" * 300_000)
    lock_file.install(folder, found, b"new")
    assert names(folder) == {"flake.nix", "flake.lock"}
