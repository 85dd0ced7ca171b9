"""Files that are there as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import HostUnavailable
from common.whole_file import write_whole


def test_it_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/file"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostUnavailable, match="can't be written"):
        write_whole(tmp_path / "file/below", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(HostUnavailable, match="folder can't be written"):
        write_whole(tmp_path / "folder", b"")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "folder"]
