"""`ncc homelab pull` and `updates`, with a real registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon
from dockerd import BUSYBOX, Dockerd
from registry import push, registry

pytestmark = pytest.mark.host


def test_images_come_and_newer_ones_are_told_of(
    ncc: Daemon, run: Any, docker: Dockerd, tmp_path: Path
) -> None:
    with registry(docker, tmp_path, 5020) as where:
        old = push(docker, BUSYBOX, f"{where}/app:1")
        assert ncc.out("homelab", "pull", f"{where}/app:1").endswith(f"app:1 was fetched: {old}\n")
        assert "is there already" in ncc.out("homelab", "pull", f"{where}/app:1")
        docker.docker("run", "--detach", "--name", "app", f"{where}/app:1")
        try:
            same = ncc.run("homelab", "updates", "app")
            assert (same.returncode, "current" in same.stdout) == (0, True)
            docker.busybox("newer:1", command=("true",))
            docker.docker("tag", f"{where}/app:1", "kept:1")
            new = push(docker, "newer:1", f"{where}/app:1")
            told = ncc.run("homelab", "updates", "app", "-o", "json")
            [row] = json.loads(told.stdout)["items"]
            assert (told.returncode, row["running_digest"], row["available_digest"]) == (3, old, new)
        finally:
            docker.docker("rm", "--force", "app")
    away = ncc.run("homelab", "pull", f"{where}/app:2")
    assert away.returncode == 7
    assert "does not answer" in away.stderr
    assert "→" in away.stderr
