"""Files that containers are made from: what is wrong with them is told, what is in them never."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ControlError, InvalidRequest, NotFound
from services.homelab.drivers import host_files


def test_what_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (1024 * 1024 + 1))
    for name, kind in (("absent", NotFound), ("", InvalidRequest), ("large", InvalidRequest)):
        with pytest.raises(kind, match="the file"):
            host_files.read(str(tmp_path / name), "the file")
    with pytest.raises(NotFound, match=r"the secret .* is not there"):
        host_files.require(str(tmp_path / "absent"), "the secret")


def test_folders_are_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        host_files.make_folder(str(tmp_path / "a/b"))
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "file").write_text("")
    host_files.make_folder(str(tmp_path / "file"))
    with pytest.raises(ControlError, match="can't be made"):
        host_files.make_folder(str(tmp_path / "file/below"))


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    allowed = [tmp_path / "srv"]
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/link").symlink_to("/etc")
    assert host_files.within(str(tmp_path / "srv"), allowed)
    assert host_files.within(str(tmp_path / "srv/a/b"), allowed)
    for outside in ("srv/link", "srv/link/x", "srv/../etc", "srvx", ""):
        assert not host_files.within(str(tmp_path / outside), allowed)
