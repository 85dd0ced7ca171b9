"""`ncc homelab list`, `show` and `engine`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from daemons import Daemon, until
from dockerd import BUSYBOX, Dockerd

pytestmark = pytest.mark.host
TICKS = "n=0; while :; do echo tick $n; n=$((n+1)); usleep 50000; done"


def test_containers_are_listed_and_shown(ncc: Daemon, run: Any) -> None:
    run(
        "web",
        TICKS,
        "--label",
        "com.docker.compose.project=shop",
        "--label",
        "com.docker.compose.service=front",
    )
    run("ended", "exit 3")
    until(lambda: ncc.json("homelab", "show", "ended")["state"] == "EXITED")
    table = ncc.out("homelab").splitlines()
    assert table[0].split() == ["NAME", "STATE", "STARTED", "IMAGE", "STACK", "PORTS"]
    assert table[1].startswith("ended  exited 3")
    assert re.match(rf"web +running +\d+s +{BUSYBOX} +shop", table[2])
    assert ncc.out("homelab", "list", "--stack", "shop", "-o", "name") == "web\n"
    assert [one["name"] for one in ncc.json("homelab", "list")["items"]] == ["ended", "web"]
    assert "stack     shop, service front" in ncc.out("homelab", "show", "web")
    assert "sh -c" in ncc.out("homelab", "top", "web")
    assert ncc.out("homelab", "restart", "web", "--grace", "0s") == "web restarted: running\n"
    assert ncc.json("homelab", "engine")["name"] == "docker"


def test_an_engine_that_hangs_is_told_and_the_rest_goes_on(ncc: Daemon, docker: Dockerd) -> None:
    with docker.hanging():
        done = ncc.run("homelab", "engine", timeout=90)
        assert done.returncode == 7
        assert "hangs" in done.stderr
        assert ncc.run("get").returncode == 0
    assert "docker" in ncc.out("homelab", "engine")
