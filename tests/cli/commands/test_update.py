"""`ncc update` on a host whose systems are built by real Nix from a real flake, switched by the real system service."""

from __future__ import annotations

import json
import random
import signal
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, answering, daemon, start, until
from updater_flakes import SwitchedHost, git

pytestmark = pytest.mark.host


class World:
    """The host, its daemon, and the command line."""

    def __init__(self, host: SwitchedHost, running: Daemon) -> None:
        self.host, self.daemon = host, running

    def run(self, *arguments: str, code: int, **how: Any) -> str:
        done = self.daemon.run("update", *arguments, **how)
        assert done.returncode == code, (
            f"{done.returncode}: {done.stdout}{done.stderr}\n{self.daemon.log[-3000:]}"
        )
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        done = self.daemon.run("update", *arguments, "-o", "json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def ended(self) -> Any:
        """The newest update, once it does not run any more."""
        row = self.json("show")
        return row if row["result"] != "RUNNING" else None

    def state(self) -> tuple[str, str, bytes]:
        """Versions of the running system and of the boot default, and the lock file."""
        return self.host.version, self.host.boot_version, self.host.lock


@pytest.fixture
def switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]) -> SwitchedHost:
    require(binary="nix")
    require(binary="git")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return SwitchedHost(tmp_path)


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


def test_run_missed_while_the_daemon_was_down_happens_once(switched: SwitchedHost) -> None:
    services = ("system", "updater")
    row = switched.folder / "state/updater/policies/daily.json"
    policy = {"flake": "/etc/nixos", "schedule": "0 4 * * *", "mode": "lock"}
    with daemon(
        switched.folder, *services, "reconciler", env=switched.environment, services=services
    ) as first:
        first.apply({"kind": "UpdatePolicy", "metadata": {"name": "daily"}, "spec": policy})
        next_run = first.json("get", "updatepolicy", "daily")["items"][0]["status"]["detected"]["next_run"]
    value = json.loads(row.read_text())
    row.write_text(json.dumps({**value, "anchor": value["anchor"] - 9 * 86_400}))
    switched.sources[0].advance()
    with daemon(
        switched.folder, *services, "reconciler", env=switched.environment, services=services
    ) as again:
        world = World(switched, again)
        until(lambda: [r["result"] for r in world.json("history")["items"]] == ["SUCCEEDED"], 30)
        assert switched.log[0] == "flake.lock: update i0"

        def told() -> Any:
            detected = again.json("get", "updatepolicy", "daily")["items"][0]["status"]["detected"]
            return detected if "last_result" in detected else None

        seen = until(told)
        assert seen["last_result"].startswith("succeeded: updated i0 (")
        assert seen["next_run"] == next_run
        assert "updated i0" in again.out("get", "updatepolicies")
        assert len(world.json("history")["items"]) == 1


# kill -9: the lock file is the old one with the old system, or the new one with the new.

POINTS = (
    "updater.installing",
    "updater.installed",
    "updater.switching",
    "updater.confirmed",
    "updater.committed",
)


@pytest.mark.parametrize("point", POINTS)
def test_killed_daemon(switched: SwitchedHost, point: str) -> None:
    services = ("system", "updater")
    first = start(
        switched.folder,
        *services,
        "reconciler",
        env={**switched.environment, "NCC_FAILPOINTS": f"{point}=kill:1"},
    )
    try:
        answering(first, services)
        old_lock = switched.lock
        switched.sources[0].advance()
        assert first.run("update", "run").returncode in (1, 7)
        assert first.process.wait(30) == -signal.SIGKILL
        assert switched.lock == old_lock or b'"nodes"' in switched.lock
    finally:
        first.stop(signal.SIGKILL)
    with daemon(
        switched.folder, *services, "reconciler", env=switched.environment, services=services
    ) as again:
        world = World(switched, again)

        row = until(world.ended, 30)
        if row["result"] == "SUCCEEDED":
            assert switched.version == switched.boot_version == "2.1"
            assert switched.lock != old_lock
            assert switched.log == ["flake.lock: update i0", "flake"]
        else:
            assert row["result"] == "ABORTED"
            assert switched.version == switched.boot_version == "1.1"
            assert switched.lock == old_lock
        assert (row["result"] == "SUCCEEDED") is (point in ("updater.confirmed", "updater.committed"))
        assert switched.clean
        assert world.run("run", code=0)
        assert switched.version == "2.1"


def test_killed_while_the_old_lock_file_comes_back(switched: SwitchedHost) -> None:
    services = ("system", "updater")
    doomed = {**switched.environment, "NCC_FAILPOINTS": "updater.restoring=kill:1"}
    first = start(switched.folder, *services, "reconciler", env=doomed)
    try:
        answering(first, services)
        old_lock = switched.lock
        switched.sources[0].advance(code=2)
        first.run("update", "run")
        assert first.process.wait(30) == -signal.SIGKILL
    finally:
        first.stop(signal.SIGKILL)
    with daemon(
        switched.folder, *services, "reconciler", env=switched.environment, services=services
    ) as again:
        assert until(World(switched, again).ended, 30)["result"] == "ABORTED"
        assert (switched.version, switched.boot_version, switched.lock) == ("1.1", "1.1", old_lock)
        assert switched.clean


def test_killed_while_an_update_is_taken_back(switched: SwitchedHost) -> None:
    services = ("system", "updater")
    doomed = {**switched.environment, "NCC_FAILPOINTS": "updater.taken_back=kill:1"}
    first = start(switched.folder, *services, "reconciler", env=doomed)
    try:
        answering(first, services)
        old_lock = switched.lock
        switched.sources[0].advance()
        assert first.run("update", "run").returncode == 0
        assert switched.version == "2.1"
        first.run("update", "rollback")
        assert first.process.wait(30) == -signal.SIGKILL
    finally:
        first.stop(signal.SIGKILL)
    with daemon(
        switched.folder, *services, "reconciler", env=switched.environment, services=services
    ) as again:
        assert until(World(switched, again).ended, 30)["result"] == "SUCCEEDED"
        assert (switched.version, switched.boot_version, switched.lock) == ("1.1", "1.1", old_lock)
        assert switched.clean


def test_daemon_killed_while_the_window_is_open(switched: SwitchedHost) -> None:
    """The guard goes on without us; afterwards the lock file is the running system's."""
    services = ("system", "updater")
    first = start(switched.folder, *services, "reconciler", env=switched.environment)
    try:
        answering(first, services)
        switched.sources[0].advance(pause=2)
        first.run("update", "run", "--no-wait")
        actions = switched.root / "actions"
        until(lambda: actions.exists() and "\ntest " in actions.read_text(), 30)
        first.stop(signal.SIGKILL)
    finally:
        first.stop(signal.SIGKILL)
    with daemon(
        switched.folder, *services, "reconciler", env=switched.environment, services=services
    ) as again:
        world = World(switched, again)
        row = until(world.ended, 40)
        assert row["result"] == "SUCCEEDED", row
        assert (switched.version, switched.boot_version) == ("2.1", "2.1")
        assert switched.clean
        assert switched.log[0] == "flake.lock: update i0"


@pytest.mark.soak
def test_killed_at_any_time(switched: SwitchedHost) -> None:
    """25 updates, each killed after some time: never a half lock file, never a lock file without its system."""
    services = ("system", "updater")
    rest = random.Random(1)
    results: dict[str, int] = {}
    for _ in range(25):
        first = start(switched.folder, *services, "reconciler", env=switched.environment)
        try:
            answering(first, services)
            switched.sources[0].advance()
            wanted = f"{len(switched.sources[0].revisions)}.1"
            before = switched.version, switched.lock
            first.run("update", "run", "--no-wait")
            time.sleep(rest.uniform(0, 0.7))  # the random moment it is killed at is the subject
        finally:
            first.stop(signal.SIGKILL)
        json.loads(switched.lock)
        with daemon(
            switched.folder, *services, "reconciler", env=switched.environment, services=services
        ) as again:
            world = World(switched, again)
            row = until(world.ended, 60)
            results[row["result"]] = results.get(row["result"], 0) + 1
            if row["result"] == "SUCCEEDED":
                assert switched.version == switched.boot_version == wanted
                assert switched.lock != before[1]
            else:
                assert row["result"] in ("ABORTED", "ROLLED_BACK")
                assert (switched.version, switched.lock) == before
                world.run("run", code=0)
                assert switched.version == switched.boot_version == wanted
            assert switched.clean
    print(results)
