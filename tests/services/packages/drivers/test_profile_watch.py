"""Hints about the profile's link."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import until
from services.packages.drivers.profile_watch import ProfileWatch


class Told:
    """Counts the calls."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def folder(tmp_path: Path, told: Told) -> Iterator[Path]:
    made = tmp_path / "nixcc"
    made.mkdir()
    watch = ProfileWatch(made, "profile", told)
    yield made
    watch.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "profile-hints"]


def move(folder: Path, target: str) -> None:
    """As Nix does: a new link, renamed over the old one."""
    (folder / ".new").symlink_to(target)
    (folder / ".new").rename(folder / "profile")


def test_a_link_that_moves(folder: Path, told: Told) -> None:
    for number in (1, 2):
        before = told.count
        move(folder, f"profile-{number}-link")
        until(lambda before=before: told.count > before)  # type: ignore[misc]
    before = told.count
    (folder / "profile").unlink()
    until(lambda: told.count > before)


def test_what_else_lies_there_is_of_no_interest(folder: Path, told: Told) -> None:
    (folder / "profile-1-link").symlink_to("/nowhere")
    (folder / ".staging-x").mkdir()
    move(folder, "profile-1-link")
    until(lambda: told.count > 0)
    assert told.count == 1


def test_a_folder_that_goes_and_comes_back(folder: Path, told: Told) -> None:
    shutil.rmtree(folder)
    until(lambda: told.count > 0)
    before = told.count
    folder.mkdir()
    until(lambda: told.count > before)
    before = told.count
    move(folder, "profile-1-link")
    until(lambda: told.count > before)
