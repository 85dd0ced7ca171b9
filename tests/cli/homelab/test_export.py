"""`ncc homelab export`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemons import Daemon
from dockerd import BUSYBOX, Dockerd

pytestmark = pytest.mark.host


def test_a_compose_file_that_is_adopted_as_it_is(
    ncc: Daemon, run: Any, docker: Dockerd, tmp_path: Path
) -> None:
    run("exported", "sleep infinity & wait", "--network", "none", "--env", "A=$x")
    before = docker.docker("inspect", "--format", "{{.Id}}", "exported").stdout
    text = ncc.out("homelab", "export", "exported")
    assert yaml.safe_load(text)["services"]["exported"]["environment"] == {"A": "$$x"}
    plan = tmp_path / "compose.yaml"
    plan.write_text(text)
    assert ncc.run("homelab", "plan", str(plan)).returncode == 0

    manifest = ncc.out("homelab", "export", "exported", "--as", "manifest")
    document = yaml.safe_load(manifest)
    assert (document["kind"], document["spec"]["image"]) == ("Container", BUSYBOX)
    path = tmp_path / "web.yaml"
    path.write_text(manifest)
    ncc.out("apply", "-f", str(path), "--wait")
    assert docker.docker("inspect", "--format", "{{.Id}}", "exported").stdout == before
    ncc.out("delete", "Container", "exported", "--wait")


def test_a_nixos_module(ncc: Daemon, run: Any, require: Any) -> None:
    require(binary="nix-instantiate")
    run("exported", "sleep infinity & wait", "--network", "none", "--restart", "always", "--memory", "64m")
    done = ncc.run("homelab", "export", "exported", "--as", "nixos")
    read = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "-"],
        input=done.stdout,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(read.stdout)["virtualisation"]["oci-containers"]
    assert found["backend"] == "docker"
    assert "--memory=67108864" in found["containers"]["exported"]["extraOptions"]
    assert done.stderr.startswith("exported: restart: ")


def test_nobody(ncc: Daemon) -> None:
    for words in (["absent"], ["--stack", "absent"], []):
        done = ncc.run("homelab", "export", *words)
        assert done.returncode
        assert "→" in done.stderr
