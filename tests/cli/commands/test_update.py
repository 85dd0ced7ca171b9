"""`ncc update` on a host whose systems are built by real Nix from a real flake, switched by the real system service."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemons import daemon, until
from update_world import World
from updater_flakes import SwitchedHost, git

pytestmark = pytest.mark.host


@pytest.fixture
def world(switched: SwitchedHost) -> Iterator[World]:
    services = ("system", "updater")
    with daemon(
        switched.folder, *services, "reconciler", env=switched.environment, services=services
    ) as running:
        yield World(switched, running)


def test_check_tells_by_its_exit_code(world: World) -> None:
    assert "every input of /etc/nixos is at its newest" in world.run("check", code=0)
    new = world.host.sources[0].advance()
    before = world.state()
    table = world.run("check", "--build", code=3)
    assert new[:12] in table
    plan = world.json("check", "--build", code=3)
    assert [(row["input"], row["new_revision"]) for row in plan["changes"]] == [("i0", new)]
    assert plan["impact"]["toplevel"].endswith("-nixos-system-web")
    assert int(plan["impact"]["closure_size"]) > 0
    assert world.state() == before
    assert world.run("check", "i1", code=0)
    assert "has no input x" in world.run("check", "x", code=5)


def test_from_update_to_rollback(world: World) -> None:
    before = world.state()
    world.host.sources[0].advance()
    assert "passed dry-activate: would restart web.service" in world.run("validate", code=0)
    assert world.state() == before

    told = world.run("run", code=0)
    assert "succeeded" in told
    assert "generation 2 runs" in told
    assert (world.host.version, world.host.boot_version) == ("2.1", "2.1")
    assert world.host.clean
    assert world.host.log == ["flake.lock: update i0", "flake"]
    shown = world.json("show")
    assert (shown["result"], shown["new_generation"]) == ("SUCCEEDED", 2)
    assert any("switch-to-configuration test" in line for line in shown["log"])
    assert shown["commit"] == git(world.host.flake, "rev-parse", "HEAD")

    assert "taken back" in world.run("rollback", code=0)
    assert world.state() == before
    assert world.host.clean
    rows = world.json("history")["items"]
    assert [(row["result"], row["requested_by"] != "") for row in rows] == [
        ("SUCCEEDED", True),
        ("TAKEN_BACK", True),
    ]
    assert "there is no update to take back" in world.run("rollback", code=5)


def test_failed_activation_is_rolled_back_and_says_so(world: World) -> None:
    before = world.state()
    world.host.sources[1].advance(code=2)
    told = world.run("run", code=9)
    assert "the update was rolled back" in told
    assert "ncc update show" in told
    assert world.state() == before
    assert world.host.clean
    assert world.host.log == ["flake"]
    assert world.json("show")["result"] == "ROLLED_BACK"
    # The next one, repaired, goes through.
    world.host.sources[1].advance()
    world.run("run", code=0)
    assert world.host.version == "1.3"


def test_unhealthy_system_is_rolled_back_by_a_policys_probes(world: World) -> None:
    version = str(world.host.root / "run/current-system/nixos-version")
    world.daemon.apply(
        {
            "kind": "UpdatePolicy",
            "metadata": {"name": "nightly"},
            "spec": {
                "flake": "/etc/nixos",
                "schedule": "0 4 * * *",
                "mode": "switch",
                "confirm_within": "20s",
                "probes": [
                    {
                        "name": "old",
                        "timeout": "1s",
                        "command": {"argv": ["/bin/grep", "^1", version]},
                    }
                ],
            },
        }
    )
    before = world.state()
    world.host.sources[0].advance()
    # On the old system the probe still holds; that it will not on the new one shows only the switch.
    valid = world.run("validate", "--policy", "nightly", code=0)
    assert "passed old" in valid
    told = world.run("run", "--policy", "nightly", code=9)
    assert "probe old" in told
    assert world.state() == before
    assert world.host.clean


def test_probe_that_fails_before_the_update(world: World) -> None:
    spec = {
        "flake": "/etc/nixos",
        "schedule": "0 4 * * *",
        "mode": "switch",
        "validation": "probes",
        "probes": [{"name": "dead", "timeout": "1s", "tcp": {"host": "127.0.0.1", "port": 1}}],
    }
    world.daemon.apply({"kind": "UpdatePolicy", "metadata": {"name": "nightly"}, "spec": spec})
    before = world.state()
    world.host.sources[0].advance()
    assert "failed dead: " in world.run("validate", "--policy", "nightly", code=1)
    assert "dead fails before the update already" in world.run("run", "--policy", "nightly", code=1)
    assert world.state() == before
    assert not (world.host.root / "actions").read_text().count("test ")


def test_confirmed_by_hand(world: World) -> None:
    world.host.sources[0].advance()
    operation = world.run("run", "--manual", "--within", "60", "--no-wait", code=0).strip()

    def waits() -> bool:
        done = world.daemon.run("generation", "window", "-o", "json")
        return done.returncode == 0 and json.loads(done.stdout).get("state") == "WAITING"

    until(waits, 30)
    assert (world.host.version, world.host.boot_version) == ("2.1", "1.1")
    world.daemon.out("generation", "confirm")
    world.daemon.out("operation", "wait", operation)
    assert (world.host.version, world.host.boot_version) == ("2.1", "2.1")
    assert world.json("show")["result"] == "SUCCEEDED"
    assert world.host.clean


def test_not_confirmed_in_time(world: World) -> None:
    before = world.state()
    world.host.sources[0].advance()
    assert "rolled back" in world.run("run", "--manual", "--within", "3", code=9)
    assert world.state() == before
    assert world.host.clean


def test_lock_file_only_and_without_a_commit(world: World) -> None:
    world.host.sources[0].advance()
    world.run("run", "--mode", "lock", "--no-commit", code=0)
    assert git(world.host.flake, "status", "--porcelain") == "M flake.lock"
    assert world.host.version == "1.1"
    world.host.sources[0].advance()
    assert "not committed" in world.run("run", code=1)


def test_boot_mode(world: World) -> None:
    world.host.sources[0].advance()
    assert "starts with the next boot" in world.run("run", "--mode", "boot", code=0)
    assert (world.host.version, world.host.boot_version) == ("1.1", "2.1")


def test_work_of_the_owner_is_left_alone(world: World) -> None:
    (world.host.flake / "notes").write_text("mine\n")
    git(world.host.flake, "add", "notes")
    (world.host.flake / "switch-to-configuration").open("a").write("# being edited\n")
    world.host.sources[0].advance()
    world.run("run", code=0)
    assert git(world.host.flake, "show", "--format=", "--name-only", "HEAD") == "flake.lock"
    assert git(world.host.flake, "status", "--porcelain").splitlines() == [
        "A  notes",
        " M switch-to-configuration",
    ]


def committed(host: SwitchedHost, name: str, text: str) -> None:
    (host.flake / name).write_text(text)
    git(host.flake, "commit", "-q", "-m", "broken", "--", name)


@pytest.mark.parametrize(
    ("break_", "told", "code"),
    [
        (lambda host: committed(host, "flake.lock", '{"version": 8}'), "version 8", 1),
        (lambda host: (host.flake / "flake.nix").write_text("{ inputs."), "flake.nix", 2),
        (lambda host: (host.flake / "flake.nix").unlink(), "there is no flake", 5),
        (lambda host: host.sources[0].folder.rename(host.folder / "away"), "git", 5),
        (lambda host: git(host.flake, "switch", "-q", "--detach"), "detached HEAD", 1),
    ],
)
def test_what_is_wrong_is_told_and_nothing_changes(
    world: World, break_: Callable[[SwitchedHost], object], told: str, code: int
) -> None:
    world.host.sources[0].advance()
    version = world.host.version
    break_(world.host)
    lock = world.host.lock
    assert told in world.run("run", code=code)
    assert (world.host.version, world.host.lock) == (version, lock)


def test_build_that_fails(world: World) -> None:
    before = world.state()
    world.host.sources[0].advance(fails=1)
    told = world.run("run", code=1)
    assert "nixos-system-web could not be built" in told
    assert "this input is broken" in told
    shown = world.run("show", code=0)
    assert "failed" in shown
    assert "this input is broken" in shown
    assert world.state() == before
    assert world.host.clean
    assert "could not be built" in world.run("validate", code=1)


def test_update_and_declared_generation_agree(world: World) -> None:
    """The loop keeps the host at the flake; an update moves both, and a failed one moves neither."""
    spec = {"flake": str(world.host.flake), "attribute": "web", "deadline": "30s"}
    world.daemon.apply({"kind": "Generation", "metadata": {"name": "system"}, "spec": spec})

    def settled(version: str) -> None:
        until(lambda: world.daemon.ready("Generation", "system")[0] == "True", 30)
        assert (world.host.version, world.host.boot_version) == (version, version)
        assert world.host.clean

    settled("1.1")
    world.host.sources[0].advance()
    world.run("run", code=0)
    world.daemon.out("reconcile")
    settled("2.1")
    world.host.sources[0].advance(code=2)
    world.run("run", code=9)
    world.daemon.out("reconcile")
    settled("2.1")
    world.run("rollback", code=0)
    world.daemon.out("reconcile")
    settled("1.1")


def test_missing_attribute(world: World) -> None:
    world.host.sources[0].advance()
    before = world.state()
    told = world.run("run", "--configuration", "nobody", code=5)
    assert "nobody" in told
    assert world.state() == before


def test_channels(world: World, tmp_path: Path) -> None:
    server = tmp_path / "server"
    (server / "tree").mkdir(parents=True)

    def publish(version: int) -> None:
        (server / "tree/default.nix").write_text(f"{{ version = {version}; }}\n")
        with tarfile.open(server / "nixexprs.tar.xz", "w:xz") as tar:
            tar.add(server / "tree", "tree")

    publish(1)
    world.daemon.apply({"kind": "Channel", "metadata": {"name": "mine"}, "spec": {"url": f"file://{server}"}})
    assert "no channel has changed" in world.run("channels", code=0)
    publish(2)
    [change] = world.json("channels", "mine")["changes"]
    assert "version = 2" in (Path(change["new_path"]) / "default.nix").read_text()
    assert change["old_path"] in world.run("channels", "--undo", code=0)
    assert "there is no channel other" in world.run("channels", "other", code=5)
    assert "go back together" in world.run("channels", "mine", "--undo", code=2)


def test_examples_are_admitted(world: World) -> None:
    examples = Path(__file__).resolve().parents[3] / "examples/updater"
    done = world.daemon.run("diff", "-f", str(examples))
    assert done.returncode == 3, done.stderr
    assert "UpdatePolicy/weekly" in done.stdout


def test_usage(world: World) -> None:
    assert "invalid choice" in world.run("frobnicate", code=2)
    assert "one update at a time" in world.run("show", "a", "b", code=2)
    assert "no input's name" in world.run("run", "a;b", code=2)
    assert "there is no update" in world.run("show", "none", code=5)
    assert "there is no UpdatePolicy" in world.run("run", "--policy", "none", code=5)
