from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import HostUnavailable, NotFound
from services.updater.history import LOG_BYTES, History, write_whole
from services.updater.models import Impact, InputChange, Mode, Package, Phase, Result, Update


def begun(history: History, **fields: object) -> Update:
    return history.begin(lambda new, now: Update(new, "/etc/nixos", Mode.SWITCH, now, **fields))  # type: ignore[arg-type]


def finished(history: History) -> Update:
    done = replace(begun(history), phase=Phase.DONE, result=Result.SUCCEEDED)
    history.save(done)
    return done


def test_rows_come_back_equal(tmp_path: Path) -> None:
    history = History(tmp_path / "updates")
    change = InputChange("a", "x", "y", "1", "2", 3, None)
    impact = Impact(
        "/nix/store/x", (Package("linux", "1", "2", -3),), 4, 5, True, ("kernel",), ("would restart a",)
    )
    row = begun(history, changes=(change,), impact=impact, warnings=("ä",), mark="m", takes_back="t")
    assert History(tmp_path / "updates").get(row.id) == row


def test_newest_first_even_when_the_clock_goes_back(tmp_path: Path) -> None:
    times = iter([1_800_000_000.0, 1_800_000_000.0, 1_700_000_000.0])
    history = History(tmp_path / "updates", clock=lambda: next(times))
    rows = [begun(history) for _ in range(3)]
    assert [row.id for row in history.all()] == [row.id for row in reversed(rows)]
    assert history.get("latest") == rows[2]


def test_only_finished_ones_are_forgotten(tmp_path: Path) -> None:
    history = History(tmp_path / "updates", keep=3)
    open_ = begun(history)
    done = [finished(history) for _ in range(5)]
    assert {row.id for row in history.all()} == {open_.id, *(row.id for row in done[-3:])}
    assert history.open() == [open_]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', '{"id": "x", "mode": "NEW"}'])
def test_damaged_row_is_passed_over(tmp_path: Path, text: str) -> None:
    history = History(tmp_path / "updates")
    row = begun(history)
    good = finished(history)
    (history.folder(row.id) / "update.json").write_text(text)
    assert history.all() == [good]
    with pytest.raises(NotFound):
        history.get(row.id)


def test_row_of_a_later_version(tmp_path: Path) -> None:
    row = finished(History(tmp_path / "updates"))
    text = row.to_json().replace('"flake"', '"later": {"a": 1}, "flake"')
    assert Update.from_json(text) == row


@pytest.mark.parametrize("id", ["nothing", "../..", "latest", ""])
def test_unknown(tmp_path: Path, id: str) -> None:
    with pytest.raises(NotFound):
        History(tmp_path / "updates").get(id)


def test_log_is_bounded(tmp_path: Path) -> None:
    history = History(tmp_path / "updates")
    row = begun(history)
    assert history.log(row.id) == []
    history.note(row.id, "a\nb")
    assert history.log(row.id) == ["a", "  b"]
    for _ in range(300):
        history.note(row.id, "x" * 10_000)
    assert (history.folder(row.id) / "log").stat().st_size <= LOG_BYTES + 10_001


def test_write_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(HostUnavailable, match="No space left"):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o600
