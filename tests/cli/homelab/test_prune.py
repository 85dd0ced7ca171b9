"""`ncc homelab prune`."""

from __future__ import annotations

from typing import Any

import pytest

from daemons import Daemon, until
from dockerd import Dockerd

pytestmark = pytest.mark.host


def test_pruning_only_tells_unless_asked(ncc: Daemon, run: Any, docker: Dockerd) -> None:
    run("old", "true")
    until(lambda: ncc.json("homelab", "show", "old")["state"] == "EXITED")
    told = ncc.out("homelab", "prune", "--containers")
    assert "container" in told
    assert "--yes does it" in told
    assert ncc.run("homelab", "prune", "--yes", "--dry-run").returncode == 2
    assert "old" in ncc.out("homelab", "list", "-o", "name").split()
    assert "1 removed" in ncc.out("homelab", "prune", "--containers", "--yes")
    assert "old" not in ncc.out("homelab", "list", "-o", "name").split()
    assert ncc.out("homelab", "prune", "--containers") == "nothing is unused\n"
