"""Opening folders under a root."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import HostUnavailable
from services.system.drivers.root import folders

BOTH = pytest.mark.parametrize("use_openat2", [True, False])


@BOTH
def test_opened_once_and_closed(tmp_path: Path, use_openat2: bool) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with folders(tmp_path, use_openat2=use_openat2) as opened:
        assert opened.open("/a/b") == opened.open("/a/b")
        assert os.path.samestat(os.fstat(opened.open("/a/b")), os.stat(tmp_path / "a/b"))
        assert os.path.samestat(os.fstat(opened.open("")), os.stat(tmp_path))
        assert len(os.listdir("/proc/self/fd")) == before + 2
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                opened.open("/a/c")
    assert len(os.listdir("/proc/self/fd")) == before


@BOTH
def test_make(tmp_path: Path, use_openat2: bool) -> None:
    with folders(tmp_path, use_openat2=use_openat2) as opened:
        made = opened.make("/a/b/c")
        assert os.path.samestat(os.fstat(made), os.stat(tmp_path / "a/b/c"))
        assert opened.make("/a/b/c") == made
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError):
            opened.make("/file/x")
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755


@BOTH
def test_way_out(tmp_path: Path, use_openat2: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    with folders(root, use_openat2=use_openat2) as opened:
        for path in ("/out", "/out/root"):
            with pytest.raises(OSError, match="cross-device") as caught:
                opened.open(path)
            assert caught.value.errno == errno.EXDEV


def test_no_root(tmp_path: Path) -> None:
    with pytest.raises(HostUnavailable, match="can't be opened"), folders(tmp_path / "none"):
        pass


FEW_DESCRIPTORS = """
import resource, sys
from pathlib import Path
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.models import FileState, FileType, FileWish
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
root = Path(sys.argv[1])
paths = [f"/{number}/{part}/f" for number in range(300) for part in "ab"]
for path in paths:
    (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
    (root / path[1:]).touch()
driver = LinuxFileDriver(root)
told = []
driver.watch(told.append)
driver.hold(paths)
assert all(isinstance(state, FileState) for state in driver.read(paths).values())
driver.close()
"""


def test_more_folders_than_descriptors(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
