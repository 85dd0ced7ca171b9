"""ncc homelab plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemons import Daemon

pytestmark = pytest.mark.host

FILE = """
services:
  web:
    image: nginx:${TAG}
    depends_on: [db]
    expose: [80]
  db: {image: postgres, volumes_from: [web]}
"""


def test_fields_without_effect_are_told(homelab: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "compose.yml").write_text(FILE)
    done = homelab.run("homelab", "plan", str(folder / "compose.yml"), "-e", "TAG=1")
    assert done.returncode == 3
    assert "shop: 2 containers, 1 network, 0 volumes" in done.stdout
    assert "shop-db-1 → shop-web-1" in done.stdout
    assert "ignored  services.web.expose" in done.stdout
    assert "missing  services.db.volumes_from" in done.stdout
    assert "services.web.image" not in done.stdout
    everything = homelab.run(
        "homelab", "plan", str(folder / "compose.yml"), "-e", "TAG=1", "--all", "--name", "x"
    )
    assert "taken    services.web.image" in everything.stdout
    assert "x-web-1" in everything.stdout


def test_from_a_pipe_and_as_json(homelab: Daemon) -> None:
    text = "services: {a: {image: x}}"
    done = homelab.run("homelab", "plan", "-", "--directory", "/srv/shop", "-o", "json", stdin=text)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["name"], found["stack"]["containers"][0]["name"]) == ("shop", "shop-a-1")


@pytest.mark.parametrize(
    ("arguments", "text", "code", "says"),
    [
        (["-"], FILE, 2, "TAG is not set"),
        (["/absent.yml"], "", 5, "there is no /absent.yml"),
        (["/"], "", 2, "can't be read"),
        (["-", "-e", "TAG"], FILE, 2, "write NAME=VALUE"),
        (["-"], "a: [", 2, "no YAML"),
    ],
)
def test_what_is_refused(homelab: Daemon, arguments: list[str], text: str, code: int, says: str) -> None:
    done = homelab.run("homelab", "plan", *arguments, stdin=text)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
