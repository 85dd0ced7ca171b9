"""`ncc homelab stats`."""

from __future__ import annotations

from typing import Any

import pytest

from daemons import Daemon

pytestmark = pytest.mark.host


def test_statistics(ncc: Daemon, run: Any) -> None:
    run("busy", "while :; do :; done", "--cpus", "0.5")
    rows = ncc.json("homelab", "stats", "--once", "--every", "1s")["stats"]
    assert [row["container"] for row in rows] == ["busy"]
    assert 20 < rows[0]["cpu_percent"] < 80
    table = ncc.out("homelab", "stats", "busy", "--once", "--every", "0.5s").splitlines()
    assert table[1].startswith("busy")
