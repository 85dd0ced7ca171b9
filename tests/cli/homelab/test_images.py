"""`ncc homelab pull`, `updates` and `update`, with a real registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, until
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


def test_declared_ones_are_updated_or_go_back(ncc: Daemon, docker: Dockerd, tmp_path: Path) -> None:
    def image(version: str, script: str) -> str:
        return docker.busybox(f"{version}:1", command=("sh", "-c", f"trap exit TERM; {script} & wait $!"))

    with registry(docker, tmp_path, 5021) as where:
        reference = f"{where}/shop:1"
        push(docker, image("first", "sleep 1000"), reference)
        base = {"image": reference, "network_mode": "none", "stop_grace": "1s"}
        ncc.apply(
            {
                "kind": "Container",
                "metadata": {"name": "upd"},
                "spec": {**base, "update": "AUTO"},
            },
            {
                "kind": "Stack",
                "metadata": {"name": "updstack"},
                "spec": {
                    "compose": json.dumps(
                        {
                            "services": {
                                "web": {"image": reference, "network_mode": "none", "stop_grace_period": "0s"}
                            }
                        }
                    ),
                    "update": "NOTIFY",
                },
            },
        )
        both = ("upd", "updstack-web-1")
        try:
            same = ncc.run("homelab", "update", *both)
            assert (same.returncode, same.stdout.count("current")) == (0, 2)

            docker.docker("tag", reference, "kept:1")
            new = push(docker, image("second", "sleep 2000"), reference)
            docker.docker("tag", "kept:1", reference)
            told = json.loads(ncc.run("homelab", "updates", *both, "-o", "json").stdout)["items"]
            assert [row["policy"] for row in told] == ["AUTO", "NOTIFY"]
            done = ncc.run("homelab", "update", *both, "-o", "json")
            rows = json.loads(done.stdout)["items"]
            assert (done.returncode, [row["running_digest"] for row in rows]) == (0, [new, new])

            docker.docker("tag", reference, "kept:2")
            push(docker, image("third", "echo no luck; exit 3"), reference)
            docker.docker("tag", "kept:2", reference)
            back = ncc.run("homelab", "update", "upd")
            assert (back.returncode, "refused" in back.stdout) == (3, True)
            assert "upd went back: upd was not replaced, the old one runs: " in back.stdout
            assert "no luck" in back.stdout
            until(lambda: ncc.ready("Container", "upd")[0] == "True")
        finally:
            ncc.out("delete", "Container", "upd", "--wait")
            ncc.out("delete", "Stack", "updstack", "--wait")
    stranger = ncc.run("homelab", "update", "nobody")
    assert "nobody is not declared" in stranger.stderr, stranger.stderr
    assert stranger.returncode == 2
