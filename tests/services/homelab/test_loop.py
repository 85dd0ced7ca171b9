"""The whole control center with a real dockerd: what is done to containers behind its back is put back by itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import NCC, Daemon, daemon, until
from dockerd import BUSYBOX, Dockerd, dockerd

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def own(require: Any) -> Iterator[Dockerd]:
    """One that may be restarted and stopped."""
    require(binary="dockerd", root=True)
    with dockerd() as started:
        started.busybox()
        yield started


@pytest.fixture
def center(own: Dockerd, tmp_path: Path) -> Iterator[Daemon]:
    environment = {"NCC_HOMELAB_ENGINE": own.address}
    with daemon(tmp_path, env=environment, services=("homelab",)) as started:
        yield started
    names = own.docker("ps", "--all", "--quiet").stdout.split()
    if names:
        own.docker("rm", "--force", "--volumes", *names)


def container(name: str = "web", script: str = "trap exit TERM; sleep infinity & wait", **spec: Any) -> Any:
    base = {"image": BUSYBOX, "command": ["sh", "-c", script], "network_mode": "none", "stop_grace": "1s"}
    return {"kind": "Container", "metadata": {"name": name}, "spec": {**base, **spec}}


def told(own: Dockerd, name: str = "web") -> Any:
    """What inspect tells; empty: there is none."""
    done = own.docker("inspect", "--type", "container", name, check=False)
    found = json.loads(done.stdout)
    return found[0] if found else {}


def runs(own: Dockerd, name: str = "web") -> str:
    """Since when it runs; empty: it does not."""
    state = told(own, name).get("State") or {}
    return str(state.get("StartedAt")) if state.get("Running") else ""


def test_what_is_done_behind_its_back_is_put_back(center: Daemon, own: Dockerd) -> None:
    center.apply(container(limits={"memory": 67108864}))
    for command in (("kill", "web"), ("rm", "--force", "web"), ("stop", "web")):
        before = runs(own)
        own.docker(*command)
        until(lambda before=before: runs(own) not in ("", before))
    own.docker("update", "--memory", "80m", "--memory-swap", "80m", "web")
    until(lambda: told(own)["HostConfig"]["Memory"] == 67108864)
    center.apply(container(environment={"A": "1"}))
    assert "A=1" in told(own)["Config"]["Env"]
    center.out("delete", "Container", "web", "--wait")
    assert told(own) == {}


def test_an_equal_one_of_others_is_taken_over_without_a_restart(center: Daemon, own: Dockerd) -> None:
    script = ("sh", "-c", "trap exit TERM; sleep infinity & wait")
    own.docker("run", "--detach", "--name", "web", "--network", "none", BUSYBOX, *script)
    before = told(own)
    document = container()
    del document["spec"]["stop_grace"]
    center.apply(document)
    assert center.ready("Container", "web")[0] == "True"
    after = told(own)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


@pytest.mark.parametrize("restart", [{}, {"restart": {"condition": "ALWAYS"}}])
def test_one_that_ends_at_once_for_ever_is_not_started_for_ever(
    center: Daemon, own: Dockerd, restart: dict[str, Any]
) -> None:
    text = json.dumps(container(script="echo no database; exit 3", **restart))
    done = center.run("apply", "-f", "-", "--wait", "--timeout", "30s", stdin=text)
    assert done.returncode == 1
    assert "no database" in done.stderr + done.stdout
    item = center.json("get", "Container", "web")["items"][0]
    conditions = {one["type"]: one["status"] for one in item["status"]["conditions"]}
    assert (conditions["Ready"], conditions["Stalled"]) == ("False", "True")
    starts = len(own.docker("logs", "web").stdout.splitlines())
    assert starts <= 6


def test_a_missing_image_is_told(center: Daemon, own: Dockerd) -> None:
    text = json.dumps(container(image="127.0.0.1:1/absent:1"))
    done = center.run("apply", "-f", "-", "--wait", "--timeout", "3s", stdin=text)
    assert done.returncode in (1, 8)
    assert "127.0.0.1:1/absent" in done.stderr + done.stdout
    assert told(own) == {}


def test_a_port_that_is_taken_is_told_and_nothing_lost(center: Daemon, own: Dockerd) -> None:
    own.docker("network", "create", "--subnet", "10.80.1.0/24", "ports")
    port = {"networks": [{"network": "ports"}], "ports": [{"container": 80, "host": 8077}]}
    first, second = container("first", **port), container("second", **port)
    for document in (first, second):
        del document["spec"]["network_mode"]
    center.apply(first)
    before = runs(own, "first")
    done = center.run("apply", "-f", "-", "--wait", "--timeout", "10s", stdin=json.dumps(second))
    assert done.returncode in (1, 8)
    assert "8077" in done.stderr + done.stdout
    assert runs(own, "first") == before
    center.out("delete", "Container", "second", "--wait")
    center.out("delete", "Container", "first", "--wait")
    own.docker("network", "rm", "ports")


def test_a_stack_is_healed_and_tells_what_is_wrong_with_its_file(center: Daemon, own: Dockerd) -> None:
    service = {"image": BUSYBOX, "command": ["sh", "-c", "trap exit TERM; sleep infinity & wait"]}
    compose = {"services": {"web": {**service, "stop_grace_period": "1s", "network_mode": "none"}}}
    stack = {"kind": "Stack", "metadata": {"name": "shop"}, "spec": {"compose": json.dumps(compose)}}
    center.apply(stack)
    before = runs(own, "shop-web-1")
    assert before
    own.docker("rm", "--force", "shop-web-1")
    until(lambda: runs(own, "shop-web-1") not in ("", before))
    stack["spec"] = {"compose": "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}"}
    done = center.run("apply", "-f", "-", stdin=json.dumps(stack))
    assert (done.returncode, "a → b → a" in done.stderr) == (2, True)
    center.out("delete", "Stack", "shop", "--wait")
    assert told(own, "shop-web-1") == {}


def test_an_engine_that_hangs_or_comes_back(center: Daemon, own: Dockerd) -> None:
    center.apply(container())
    with own.hanging():
        until(lambda: center.run("reconcile", "Container", "web", "--wait").returncode != 0, 40)
        assert center.ready("Container", "web")[0] != "True"
        until(lambda: "docker backend does not answer" in center.run("doctor").stdout, 30)
    until(lambda: center.ready("Container", "web")[0] == "True", 30)
    own.stop()
    own.start()
    until(lambda: center.ready("Container", "web")[0] == "True" and runs(own) != "", 60)
    before = runs(own)
    own.docker("kill", "web")
    until(lambda: runs(own) not in ("", before), 30)


# restic that begins a backup only when the file is there.
WAITING = """#!/bin/sh
case " $* " in *" backup "*) until [ -e {go} ]; do sleep 0.05; done ;; esac
exec {restic} "$@"
"""


def test_what_a_backup_stops_stays_so_until_it_has_ended(require: Any, own: Dockerd, tmp_path: Path) -> None:
    require(binary="restic")
    program, go, password = tmp_path / "bin/restic", tmp_path / "go", tmp_path / "password"
    program.parent.mkdir()
    program.write_text(WAITING.format(go=go, restic=shutil.which("restic")))
    program.chmod(0o755)
    password.touch(0o600)
    password.write_text("secret of a test")
    job = {
        "repository": str(tmp_path / "repository"),
        "password_file": str(password),
        "paths": [str(tmp_path / "bin")],
        "hooks": [{"container": "web", "action": "STOP"}],
        "schedule": "30 3 1 1 *",
    }
    environment = {
        "NCC_HOMELAB_ENGINE": own.address,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    with daemon(tmp_path, env=environment, services=("homelab",)) as center:
        center.apply(container(), {"kind": "BackupJob", "metadata": {"name": "nightly"}, "spec": job})
        before = runs(own)
        argv = [NCC, "homelab", "backup", "run", "nightly"]
        with subprocess.Popen(argv, env=center.env(), stdout=subprocess.DEVNULL) as running:
            try:
                until(lambda: not runs(own))
                center.out("reconcile", "Container", "web", "--wait")
                assert not runs(own), "the loop started what the backup had stopped"
            finally:
                go.touch()
            assert running.wait(60) == 0
        assert runs(own) not in ("", before)
        center.out("delete", "Container", "web", "--wait")
