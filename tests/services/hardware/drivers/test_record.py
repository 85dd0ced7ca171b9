from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.hardware.drivers.record import Record


def test_keeps_entries_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "state/record.json"
    record = Record(path)
    assert record.get("a") == {}
    record.put("a", {"x": 1})
    record.put("b", {"y": [1, 2]})
    record.put("a", {})
    assert Record(path).get("a") == {}
    assert Record(path).get("b") == {"y": [1, 2]}
    assert os.stat(path.parent).st_mode & 0o077 == 0


def test_what_it_gives_is_a_copy(tmp_path: Path) -> None:
    record = Record(tmp_path / "record.json")
    record.put("a", {"x": 1})
    record.get("a")["x"] = 2
    assert record.get("a") == {"x": 1}


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b"\xff", json.dumps({"a": 1}).encode()])
def test_a_broken_one_begins_anew(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(broken)
    record = Record(path)
    assert record.get("a") == {}
    record.put("a", {"x": 1})
    assert Record(path).get("a") == {"x": 1}
