"""`ncc package` with real Nix, a store and a flake of its own; one daemon for all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemons import Daemon, daemon, until
from package_flake import PackageFlake, store_environment

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def flake(require: Any, tmp_path_factory: pytest.TempPathFactory) -> PackageFlake:
    require(binary="nix")
    require(binary="git")
    made = PackageFlake(tmp_path_factory.mktemp("flake"))
    made.publish()
    return made


@pytest.fixture(scope="module")
def host(flake: PackageFlake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("packages")
    environment = {**store_environment(folder), "NCC_PACKAGES_FLAKE": flake.url}
    with daemon(folder, "packages", "reconciler", env=environment, services=("packages",)) as started:
        started.environment = environment
        yield started


def package(name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": "Package", "metadata": {"name": name}, "spec": spec}


def profile(host: Daemon) -> Path:
    return host.root / "nix/var/nix/profiles/nixcc/profile"


def installed(host: Daemon) -> dict[str, str]:
    return {row["name"]: row["version"] for row in host.json("package")["items"]}


def test_a_way_through_everything(host: Daemon, flake: PackageFlake) -> None:
    failed = host.run("package", "search", "hello")
    assert failed.returncode == 5
    assert "→ make it: ncc package refresh" in failed.stderr

    assert re.match(r"\d+ packages of git\+file:.*: made anew", host.out("package", "refresh"))
    assert "is there already" in host.out("package", "refresh")
    found = host.json("package", "search", "greets", "--limit", "5")
    assert {row["attribute"] for row in found["items"]} == {"hello", "libgreet"}
    assert found["index"]["flake"] == flake.url
    assert host.out("package", "search", "hello", "-o", "name").split()[0] == "hello"
    assert "nothing was found" in host.out("package", "search", '"*) OR NEAR(')
    assert "unfree" in host.out("package", "search", "unfree")
    assert host.json("package", "search", "unfree", "--usable")["items"] == []
    info = host.json("package", "info", "hello")
    assert (info["package"]["version"], info["package"]["licenses"]) == ("1.0", ["MIT"])
    assert host.run("package", "info", "helo").returncode == 5
    assert host.json("package", "versions", "hello")["items"][0]["version"] == "1.0"
    assert host.json("package", "indexes")["items"][0]["packages"] == 5

    host.apply(package("hello"), package("greetings", attribute="libgreet", pin=True))
    assert installed(host) == {"greetings": "0.3", "hello": "1.0"}
    assert (profile(host) / "bin/hello").exists()
    assert "installed  1.0 as hello" in host.out("package", "info", "hello")

    closure = host.json("package", "closure", "hello")
    assert {row["name"] for row in closure["items"]} == {"hello", "libgreet"}
    assert int(closure["total_size"]) == sum(int(row["size"]) for row in closure["items"])
    assert "└─ libgreet 0.3" in host.out("package", "closure", "hello", "--tree")
    assert host.json("package", "closure", "profile")["total_size"]
    assert "└─ " in host.out("package", "why", "hello", "libgreet")
    assert "it is not needed" in host.out("package", "why", "greetings", "hello")
    library = next(row["path"] for row in closure["items"] if row["name"] == "libgreet")
    needed_by = host.json("package", "depends", library, "--indirect")
    assert "hello" in needed_by["packages"]
    assert host.run("package", "closure", "/etc").returncode == 5

    flake.publish(hello="2.0", libgreet="0.4")
    assert host.out("package", "upgrade").strip() == "hello 1.0 → 2.0"
    assert installed(host) == {"greetings": "0.3", "hello": "2.0"}
    history = host.json("package", "history")["items"]
    assert history[0]["current"] is True
    assert history[0]["changes"] == [{"name": "hello", "before": "1.0", "after": "2.0"}]
    assert "hello 1.0 → 2.0" in host.out("package", "history")

    host.out("package", "rollback")
    assert installed(host)["hello"] == "1.0", "an upgrade is no part of what is declared"
    assert host.run("package", "rollback", "99").returncode == 5
    assert host.run("package", "rollback", "x").returncode == 2

    host.out("delete", "package", "hello", "--wait")
    assert installed(host) == {"greetings": "0.3"}


def test_what_somebody_removes_is_put_back(host: Daemon) -> None:
    host.apply(package("before", attribute="hello"))
    host.apply(package("multi", outputs=["dev"]))
    host.run("package", "rollback")
    until(lambda: "multi" in installed(host))
    assert "Healed" in {event["reason"] for event in host.json("events", "package", "multi")["items"]}
    host.out("delete", "package", "before", "multi", "--wait")


def test_garbage_verify_optimise(host: Daemon, flake: PackageFlake) -> None:
    for version in ("7", "8", "9"):
        flake.publish(other=version)
        host.apply(package("other", version=version))
    before = host.json("package", "gc", "--dry-run", "--older-than", "0")
    assert any(root["kept"] for root in before["roots"] if "kept" in root)
    assert before["generations"]
    assert int(before["bytes"]) > 0
    kept = os.path.realpath(profile(host))

    done = host.json("package", "gc", "--older-than", "0")

    assert set(done["paths"]) >= {path for path in before["paths"] if not path.endswith("-source")}
    assert os.path.exists(kept)
    assert (profile(host) / "bin").is_dir()
    assert len(host.json("package", "history")["items"]) == 2, "the current one and the one before stay"
    assert host.json("package", "gc", "--dry-run").get("bytes", "0") == "0"

    assert "paths checked" in host.out("package", "verify")
    damaged = next(Path(kept).glob("bin/*")).resolve()
    damaged.chmod(0o755)
    damaged.write_text("else")
    found = host.run("package", "verify", "-o", "json")
    assert found.returncode == 1
    assert json.loads(found.stdout)["damaged"] == [str(damaged.parents[1])]
    assert "--repair" in host.run("package", "verify").stdout
    repaired = host.run("package", "verify", "--repair", "-o", "json")
    assert json.loads(repaired.stdout)["repaired"] == [str(damaged.parents[1])]
    assert repaired.returncode == 0
    assert damaged.read_text() != "else"
    assert "files became one" in host.out("package", "optimise")
    host.out("delete", "package", "other", "--wait")


def test_caches(host: Daemon, tmp_path: Path) -> None:
    (tmp_path / "nix-cache-info").write_text("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 30\n")
    found = host.json("package", "caches", f"file://{tmp_path}", "http://127.0.0.1:1", "file:///nowhere")
    first, second, third = found["items"]
    assert (first["available"], first["priority"], first["want_mass_query"]) == (True, 30, True)
    assert "refused" in second["error"]
    assert "No such file" in third["error"]
    assert "answers" in host.out("package", "caches", f"file://{tmp_path}")


def test_adoption(host: Daemon) -> None:
    host.apply(package("adopted", attribute="hello"))
    host.out("delete", "package", "adopted", "--orphan", "--wait")
    assert "Package/adopted" in host.out("import", "package", "-o", "name").split()
    manifest = host.out("import", "package", "adopted")
    assert yaml.safe_load(manifest)["spec"]["attribute"] == "hello"
    diff = host.run("diff", "-f", "-", "-o", "json", stdin=manifest)
    assert json.loads(diff.stdout)["items"][0]["host"] == "unchanged"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("search",), 2),
        (("why", "hello"), 2),
        (("info", "absent"), 5),
        (("closure", "absent"), 5),
        (("upgrade", "absent"), 5),
        (("gc", "--max", "much"), 2),
        (("refresh", "--file", "/nowhere"), 5),
        (("refresh", "--flake", "/nowhere"), 5),
        (("search", "x", "--limit", "-1"), 2),
    ],
)
def test_what_is_wrong(host: Daemon, arguments: tuple[str, ...], code: int) -> None:
    done = host.run("package", *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("ncc package: ")


def test_a_package_that_can_not_be_had_tells_why(host: Daemon) -> None:
    host.out("apply", "-f", "-", stdin=json.dumps(package("unfree")))
    until(lambda: host.ready("Package", "unfree")[1] == "WrongState")
    message = host.out("describe", "package", "unfree")
    assert "unfree license" in message
    host.out("delete", "package", "unfree", "--wait")


def test_examples_are_admitted(host: Daemon) -> None:
    examples = Path(__file__).resolve().parents[3] / "examples/packages"
    done = host.run("diff", "-f", str(examples))
    assert done.returncode == 3, done.stderr
    assert "PackageSet/web-dev" in done.stdout
    assert "Package/jq" in done.stdout


def test_names_only_of_what_has_some(host: Daemon) -> None:
    assert host.run("package", "gc", "--dry-run", "-o", "name").returncode == 2
    host.out("package", "caches", "file:///nowhere", "-o", "name")
