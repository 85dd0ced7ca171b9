"""A run that was cut off is found, one that has ended is not, whenever the daemon was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.homelab.backup.marks import Marks
from services.homelab.backup.models import Record, Run

NEVER = Record()


def test_none_has_begun(tmp_path: Path) -> None:
    assert Marks(tmp_path / "none").take("nightly", NEVER) is None


@pytest.mark.parametrize("again", [False, True])
def test_one_that_was_cut_off_is_found_once(tmp_path: Path, again: bool) -> None:
    Marks(tmp_path / "work").set("nightly", 7.0, again)
    marks = Marks(tmp_path / "work")
    assert marks.take("other", NEVER) is None
    assert marks.take("nightly", Record(runs=(Run(3.0, 1.0),))) is again
    assert marks.take("nightly", NEVER) is None


def test_one_that_has_ended(tmp_path: Path) -> None:
    marks = Marks(tmp_path)
    marks.set("nightly", 7.0, False)
    assert marks.take("nightly", Record(runs=(Run(7.0, 1.0),))) is None, "killed before the mark went"
    marks.set("nightly", 8.0, False)
    marks.clear("nightly")
    assert marks.take("nightly", NEVER) is None


def test_what_is_written_in_it_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "nightly.begun").write_text("{")
    assert Marks(tmp_path).take("nightly", NEVER) is False
