"""The thin layer over inotify(7)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common import inotify
from common.inotify import Event, Inotify


def test_events(tmp_path: Path) -> None:
    watcher = Inotify()
    try:
        watch = watcher.add(str(tmp_path), inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_ATTRIB)
        assert (
            watcher.add(str(tmp_path / "."), inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_ATTRIB)
            == watch
        )
        assert watcher.read() == []
        names = ["a", "name with blanks", "x" * 255, "ü"]
        for name in names:
            (tmp_path / name).mkdir()
        os.mkdir(os.fsencode(tmp_path) + b"/\xff")
        is_folder = 0x4000_0000
        created = inotify.IN_CREATE | is_folder
        assert watcher.read() == [Event(watch, created, name) for name in (*names, "\udcff")]
        watcher.remove(watch)
        assert watcher.read() == [Event(watch, inotify.IN_IGNORED, "")]
    finally:
        watcher.close()


def test_errors_are_oserrors(tmp_path: Path) -> None:
    watcher = Inotify()
    try:
        with pytest.raises(FileNotFoundError):
            watcher.add(str(tmp_path / "none"), inotify.IN_CREATE)
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError):
            watcher.add(str(tmp_path / "file"), inotify.IN_CREATE | inotify.IN_ONLYDIR)
        with pytest.raises(OSError, match="Invalid"):
            watcher.remove(12345)
    finally:
        watcher.close()
