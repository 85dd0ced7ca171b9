"""What is remembered of updates."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from common.errors import HostUnavailable
from services.homelab.image_updates.records import Update, UpdateRecords

UPDATE = Update("app:1", "sha256:d", "sha256:old", "sha256:new")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "homelab/updates.json"


def test_only_the_container_that_runs_the_old_image_is_to_be_replaced(path: Path) -> None:
    records = UpdateRecords(path)
    records.begin("web", UPDATE)
    assert records.pending("web", "app:1", "sha256:old") == UPDATE
    assert records.pending("web", "app:1", "sha256:new") is None
    assert records.pending("web", "app:2", "sha256:old") is None
    assert records.pending("db", "app:1", "sha256:old") is None
    records.refuse("web", "no luck")
    assert records.pending("web", "app:1", "sha256:old") is None


def test_it_survives_a_restart(path: Path) -> None:
    records = UpdateRecords(path)
    records.set_checked(12.5)
    records.begin("web", UPDATE)
    records.begin("db", UPDATE)
    records.refuse("db", "no luck")
    again = UpdateRecords(path)
    assert again.checked == 12.5
    assert again.get("web") == UPDATE
    assert again.get("db") is not None
    assert again.get("db").refused == "no luck"  # type: ignore[union-attr]
    again.keep(["db"])
    assert UpdateRecords(path).get("web") is None
    again.done("db")
    assert UpdateRecords(path).get("db") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"checked": 1, "updates": {"a": {"x": 1}}}', "null"])
def test_what_can_not_be_read_is_nothing(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    records = UpdateRecords(path)
    assert (records.checked, records.get("a")) == (0.0, None)
    records.begin("web", UPDATE)
    assert UpdateRecords(path).get("web") == UPDATE


def test_changes_are_told_and_waited_for(path: Path) -> None:
    records = UpdateRecords(path)
    told: list[str] = []
    stop = records.subscribe(told.append)
    records.begin("web", UPDATE)
    cancel = threading.Event()
    assert not records.wait("web", time.monotonic(), cancel)
    timer = threading.Timer(0.05, records.refuse, ("web", "no luck"))
    timer.start()
    assert records.wait("web", time.monotonic() + 20, cancel)
    timer.join()
    records.done("absent")
    assert told == ["web", "web"]
    stop()
    records.done("web")
    assert told == ["web", "web"]
    assert records.wait("web", time.monotonic(), cancel)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostUnavailable, match=r"updates\.json can't be written"):
        UpdateRecords(tmp_path / "file/updates.json").begin("web", UPDATE)
