"""`ncc update` and kill -9: the lock file is the old one with the old system, or the new one with the new."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from daemons import Daemon, answering, daemon, start, until
from update_world import World
from updater_flakes import SwitchedHost

pytestmark = pytest.mark.host


SERVICES = ("system", "updater")
POINTS = (
    "updater.installing",
    "updater.installed",
    "updater.switching",
    "updater.confirmed",
    "updater.committed",
)


@pytest.mark.parametrize("point", POINTS)
def test_killed_daemon(switched: SwitchedHost, point: str) -> None:
    old_lock = switched.lock
    with dying(switched, point) as first:
        switched.sources[0].advance()
        assert first.run("update", "run").returncode in (1, 7)
    assert switched.lock == old_lock or b'"nodes"' in switched.lock
    with again(switched) as world:
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
    old_lock = switched.lock
    with dying(switched, "updater.restoring") as first:
        switched.sources[0].advance(code=2)
        first.run("update", "run")
    with again(switched) as world:
        assert until(world.ended, 30)["result"] == "ABORTED"
        assert (switched.version, switched.boot_version, switched.lock) == ("1.1", "1.1", old_lock)
        assert switched.clean


def test_killed_while_an_update_is_taken_back(switched: SwitchedHost) -> None:
    old_lock = switched.lock
    with dying(switched, "updater.taken_back") as first:
        switched.sources[0].advance()
        assert first.run("update", "run").returncode == 0
        assert switched.version == "2.1"
        first.run("update", "rollback")
    with again(switched) as world:
        assert until(world.ended, 30)["result"] == "SUCCEEDED"
        assert (switched.version, switched.boot_version, switched.lock) == ("1.1", "1.1", old_lock)
        assert switched.clean


@contextmanager
def dying(switched: SwitchedHost, point: str) -> Iterator[Daemon]:
    """A daemon that kills itself at a failpoint, within the block."""
    environment = {**switched.environment, "NCC_FAILPOINTS": f"{point}=kill:1"}
    first = start(switched.folder, *SERVICES, "reconciler", env=environment)
    try:
        answering(first, SERVICES)
        yield first
        assert first.process.wait(30) == -signal.SIGKILL
    finally:
        first.stop(signal.SIGKILL)


@contextmanager
def again(switched: SwitchedHost) -> Iterator[World]:
    """The daemon after it."""
    with daemon(
        switched.folder, *SERVICES, "reconciler", env=switched.environment, services=SERVICES
    ) as started:
        yield World(switched, started)


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
