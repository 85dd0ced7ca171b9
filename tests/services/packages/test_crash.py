"""kill -9 of the whole daemon at every step of a change: the profile is old or new, and it converges."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from daemons import answering, start, until
from package_flake import PackageFlake, store_environment
from services.packages.drivers import manifest

pytestmark = pytest.mark.host

POINTS = ("removed", "staged", "before_set", "after_set", "before_record", "after_record")


@pytest.fixture
def flake(require: Any, tmp_path: Path) -> PackageFlake:
    require(binary="nix")
    require(binary="git")
    (tmp_path / "flake").mkdir()
    made = PackageFlake(tmp_path / "flake")
    made.publish()
    return made


@pytest.fixture
def environment(flake: PackageFlake, tmp_path: Path) -> dict[str, str]:
    return {**store_environment(tmp_path), "NCC_PACKAGES_FLAKE": flake.url}


def package(name: str, **spec: Any) -> str:
    return json.dumps({"kind": "Package", "metadata": {"name": name}, "spec": spec})


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_one_package_takes_the_place_of_another(
    tmp_path: Path, flake: PackageFlake, environment: dict[str, str], point: str
) -> None:
    """`greeter` becomes another package with the same file: never both, never none."""
    profile = tmp_path / "root/nix/var/nix/profiles/nixcc/profile"

    def held() -> dict[str, str]:
        return {element.attribute: element.version for element in manifest.read(profile)}

    first = start(tmp_path, env=environment)
    answering(first, ("packages",))
    first.out("apply", "-f", "-", "--wait", stdin=package("greeter", attribute="hello"))
    assert held() == {"hello": "1.0"}
    first.stop()

    killed = start(tmp_path, env={**environment, "NCC_FAILPOINTS": f"packages.{point}=kill"})
    answering(killed, ("packages",))
    killed.run("apply", "-f", "-", stdin=package("greeter", attribute="other"))
    assert killed.process.wait(30) == -signal.SIGKILL
    assert held() in ({"hello": "1.0"}, {"other": "3.1"})
    assert os.path.exists(profile / "bin/hello"), "both have it: it is there all the time"

    last = start(tmp_path, env=environment)
    try:
        answering(last, ("packages",))
        until(lambda: held() == {"other": "3.1"}, 20)
        until(lambda: last.ready("Package", "greeter")[0] == "True", 20)
        assert not list(profile.parent.glob(".staging-*"))
        rows = last.json("package")["items"]
        assert [(row["name"], row["declared"]) for row in rows] == [("greeter", True)]
    finally:
        last.stop()


@pytest.mark.parametrize("point", ["before_index", "after_index"])
def test_killed_while_the_index_is_made(
    tmp_path: Path, flake: PackageFlake, environment: dict[str, str], point: str
) -> None:
    first = start(tmp_path, env=environment)
    answering(first, ("packages",))
    first.out("package", "refresh")
    first.stop()
    flake.publish(hello="2.0")

    killed = start(tmp_path, env={**environment, "NCC_FAILPOINTS": f"packages.{point}=kill"})
    answering(killed, ("packages",))
    killed.run("package", "refresh")
    assert killed.process.wait(30) == -signal.SIGKILL

    last = start(tmp_path, env=environment)
    try:
        answering(last, ("packages",))
        version = last.json("package", "info", "hello")["package"]["version"]
        assert version == {"before_index": "1.0", "after_index": "2.0"}[point]
        last.out("package", "refresh")
        assert last.json("package", "info", "hello")["package"]["version"] == "2.0"
        assert len(list((tmp_path / "state/packages/index").iterdir())) == 1
    finally:
        last.stop()
