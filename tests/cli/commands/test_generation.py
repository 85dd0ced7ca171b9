"""`ncc generation` against a real daemon, real profiles and systems that are scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import NCC, Daemon, answering, daemon, start, until
from script_systems import ScriptHost

pytestmark = pytest.mark.host


@pytest.fixture
def host(tmp_path: Path, require: Any) -> ScriptHost:
    require(binary="nix-env")
    return ScriptHost(tmp_path)


@pytest.fixture
def ncc(host: ScriptHost) -> Iterator[Daemon]:
    with daemon(host.folder, env=host.environment) as started:
        yield started


def untouched(host: ScriptHost, old: str) -> None:
    assert (host.running, host.boot_default, host.driver.default()) == (old, old, old)


def window(ncc: Daemon) -> dict[str, Any]:
    found: dict[str, Any] = ncc.json("generation", "window")
    return found


def test_switching_to_a_built_system(host: ScriptHost, ncc: Daemon) -> None:
    host.install(host.system("a"))
    new = host.system("b")

    done = ncc.run("generation", "switch", new)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"confirmed: {new}\n")
    assert (host.running, host.boot_default) == (new, new)
    assert host.actions == ["test b", "boot b"]
    assert window(ncc)["state"] == "CONFIRMED"


def test_the_list_is_what_nixos_rebuild_prints(host: ScriptHost, ncc: Daemon) -> None:
    host.install(host.system("a"))
    host.install(host.system("b"))

    rows = ncc.json("generation", "list")

    assert [row["generation"] for row in rows] == [2, 1]
    assert list(rows[0]) == [
        "generation",
        "date",
        "nixosVersion",
        "kernelVersion",
        "configurationRevision",
        "specialisations",
        "current",
    ]
    assert (rows[0]["nixosVersion"], rows[0]["kernelVersion"]) == ("26.05.b", "Unknown")
    assert (rows[0]["current"], rows[1]["current"]) == (True, False)
    assert "2*" in ncc.out("generation")


def test_a_failed_switch_ends_with_9_and_the_old_system(host: ScriptHost, ncc: Daemon) -> None:
    old = host.install(host.system("a"))

    done = ncc.run("generation", "switch", host.system("b", code=2))

    assert done.returncode == 9
    assert "the activation failed" in done.stderr
    assert "\n  → " in done.stderr
    untouched(host, old)
    assert window(ncc)["state"] == "ROLLED_BACK"


def test_confirming_by_hand(host: ScriptHost, ncc: Daemon) -> None:
    host.install(host.system("a"))
    new = host.system("b")
    name = ncc.out("generation", "switch", new, "--confirm", "manual", "--detach").strip()
    until(lambda: _state(ncc) == "WAITING")
    assert host.boot_default != new

    assert ncc.out("generation", "confirm").startswith("confirmed: ")

    assert host.boot_default == new
    assert ncc.run("operation", "wait", name).returncode == 0
    assert ncc.run("generation", "confirm").returncode == 5, "nothing waits any longer"


def test_rejecting_by_hand_and_seeing_it_from_another_client(host: ScriptHost, ncc: Daemon) -> None:
    old = host.install(host.system("a"))
    new = host.system("b")
    name = ncc.out("generation", "switch", new, "--confirm", "manual", "--detach").strip()
    until(lambda: _state(ncc) == "WAITING")

    assert ncc.run("generation", "reject").returncode == 0

    assert ncc.run("operation", "wait", name).returncode == 9
    untouched(host, old)


def test_a_client_that_is_killed(host: ScriptHost, ncc: Daemon) -> None:
    old = host.install(host.system("a"))
    argv = [NCC, "generation", "switch", host.system("b"), "--confirm", "manual", "--deadline", "2s"]
    client = subprocess.Popen(argv, env=ncc.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: _state(ncc) == "WAITING")

    client.kill()
    client.wait()

    until(lambda: _state(ncc) == "ROLLED_BACK")
    untouched(host, old)


def test_a_daemon_that_is_killed_and_stays_away(host: ScriptHost) -> None:
    old = host.install(host.system("a"))
    first = start(host.folder, env=host.environment)
    answering(first)
    first.out("generation", "switch", host.system("b"), "--confirm", "manual", "--deadline", "2s", "--detach")
    until(lambda: _state(first) == "WAITING")
    first.stop(signal.SIGKILL)

    until(lambda: host.windows_of_daemon.last().state.ended)

    untouched(host, old)
    with daemon(host.folder, env=host.environment) as again:
        assert window(again)["state"] == "ROLLED_BACK"


def test_a_daemon_that_comes_back_goes_on(host: ScriptHost) -> None:
    host.install(host.system("a"))
    first = start(host.folder, env=host.environment)
    answering(first)
    new = host.system("b", sleep=2)
    first.out("generation", "switch", new, "--detach")
    until(lambda: host.actions == ["test b"])
    first.stop(signal.SIGKILL)

    with daemon(host.folder, env=host.environment) as again:
        until(lambda: _state(again) == "CONFIRMED")
    assert (host.running, host.boot_default) == (new, new)


def test_a_daemon_and_a_guard_that_are_killed(host: ScriptHost) -> None:
    old = host.install(host.system("a"))
    first = start(host.folder, env=host.environment)
    answering(first)
    first.out("generation", "switch", host.system("b"), "--confirm", "manual", "--detach")
    until(lambda: _state(first) == "WAITING")
    first.stop(signal.SIGKILL)
    os.kill(host.guard(host.windows_of_daemon.folder), signal.SIGKILL)

    with daemon(host.folder, env=host.environment) as again:
        until(lambda: _state(again) == "ROLLED_BACK")
    untouched(host, old)


def test_two_switches_at_once(host: ScriptHost, ncc: Daemon) -> None:
    old = host.install(host.system("a"))
    ncc.out("generation", "switch", host.system("b"), "--confirm", "manual", "--detach")
    until(lambda: _state(ncc) == "WAITING")

    second = ncc.run("generation", "switch", host.system("c"))

    assert second.returncode == 6
    assert "not over yet" in second.stderr
    ncc.out("generation", "reject")
    untouched(host, old)


def test_nixos_rebuild_and_we_never_run_at_once(host: ScriptHost, ncc: Daemon) -> None:
    old = host.install(host.system("a"))
    lock = host.root / "run/nixos/switch-to-configuration.lock"
    with subprocess.Popen(["flock", str(lock), "sleep", "60"]) as rebuild:
        try:
            until(lambda: lock.exists() and _locked(lock))
            done = ncc.run("generation", "switch", host.system("b"))
        finally:
            rebuild.kill()
    subprocess.run(["fuser", "-k", str(lock)], check=False, capture_output=True)

    assert done.returncode == 6
    assert "nixos-rebuild" in done.stderr
    untouched(host, old)


def test_the_first_switch_ever_is_refused(host: ScriptHost, ncc: Daemon) -> None:
    done = ncc.run("generation", "switch", host.system("b"))

    assert done.returncode == 1
    assert "no system to go back to" in done.stderr
    assert "ncc generation boot" in done.stderr
    assert host.actions == []


def test_a_dry_run_in_the_window_undoes_nothing(host: ScriptHost, ncc: Daemon) -> None:
    host.install(host.system("a"))
    new = host.system("b")
    ncc.out("generation", "switch", new, "--confirm", "manual", "--detach")
    until(lambda: _state(ncc) == "WAITING")

    found = ncc.json("generation", "diff", host.system("c"))

    assert found["units"]["stop"] == ["old.service", "gone.service"]
    assert found["units"]["start"] == ["new.service"]
    assert (_state(ncc), host.running) == ("WAITING", new)
    ncc.out("generation", "confirm")
    assert host.boot_default == new


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("/nix/store/00000000000000000000000000000000-none", 5, "does not exist"),
        ("{no script}", 1, "can't be switched to"),
        ("{no system}", 1, "no NixOS system"),
    ],
)
def test_what_is_no_system(host: ScriptHost, ncc: Daemon, path: str, code: int, said: str) -> None:
    old = host.install(host.system("a"))
    if path == "{no script}":
        path = host.system("b", script=False)
    elif path == "{no system}":
        (host.folder / "text").mkdir()
        path = host.nix("nix-store", "--add", str(host.folder / "text")).strip()
        declared = {"kind": "Generation", "metadata": {"name": "system"}, "spec": {"toplevel": path}}
        ncc.apply(declared, wait=False)
        until(lambda: ncc.ready("Generation", "system")[0] == "False")
        assert said in ncc.out("describe", "generation", "system")
        untouched(host, old)
        return

    done = ncc.run("generation", "switch", path)

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    untouched(host, old)


def test_rolling_back_and_deleting(host: ScriptHost, ncc: Daemon) -> None:
    a, b = host.install(host.system("a")), host.system("b")
    ncc.out("generation", "switch", b)
    ncc.out("generation", "switch", host.system("c"))

    ncc.out("generation", "rollback")
    assert (host.running, host.boot_default) == (b, b)
    ncc.out("generation", "rollback", "1")
    assert (host.running, host.boot_default) == (a, a)
    assert ncc.run("generation", "rollback", "77").returncode == 5

    rows = ncc.json("generation", "list")
    current = next(row["generation"] for row in rows if row["current"])
    kept = ncc.run("generation", "delete", str(current))
    assert kept.returncode == 1
    assert "stays" in kept.stdout
    dry = ncc.out("generation", "delete", "--keep", "2", "--dry-run")
    assert ncc.json("generation", "list") == rows
    assert ncc.out("generation", "delete", "--keep", "2") == dry.replace("would be deleted", "deleted")
    assert host.driver.default() == a
    assert ncc.run("generation", "delete").returncode == 2


def test_probes_decide(host: ScriptHost, ncc: Daemon) -> None:
    old = host.install(host.system("a"))
    marker = host.folder / "healthy"
    ncc.apply(_declared(host.system("b"), marker), wait=False)

    until(lambda: ncc.ready("Generation", "system") == ("False", "RolledBack"))
    untouched(host, old)
    seen = len(host.actions)
    ncc.out("reconcile")
    assert len(host.actions) == seen, "what was rolled back is not tried again by itself"

    marker.touch()
    again = host.system("c")
    ncc.apply(_declared(again, marker))
    assert (host.running, host.boot_default) == (again, again)
    assert ncc.ready("Generation", "system")[0] == "True"


def test_a_declared_generation_is_put_back(host: ScriptHost, ncc: Daemon) -> None:
    old, new = host.install(host.system("a")), host.system("b")
    ncc.apply(_declared(new))
    assert ncc.run("diff", "-f", "-", stdin=json.dumps(_declared(new))).returncode == 0

    subprocess.run(
        [f"{old}/bin/switch-to-configuration", "test"], env=ncc.env(), check=True, capture_output=True
    )

    until(lambda: host.running == new)


def test_a_roll_back_of_what_is_declared_stays(host: ScriptHost, ncc: Daemon) -> None:
    old = host.install(host.system("a"))
    ncc.apply(_declared(host.system("b")))

    assert "suspended" in ncc.out("generation", "rollback")

    ncc.out("reconcile")
    assert (host.running, host.boot_default) == (old, old)
    assert ncc.ready("Generation", "system")[1] == "Suspended"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "flake"),
        ({"flake": "/etc/nixos", "toplevel": "/nix/store/x"}, "flake"),
        ({"toplevel": "/nix/store/x", "attribute": "web"}, "attribute"),
        ({"flake": "--impure"}, "flake"),
        ({"toplevel": "/nix/store/x", "deadline": "1s"}, "deadline"),
        ({"toplevel": "/nix/store/x", "probes": [{"name": "x"}]}, "probes"),
        ({"toplevel": "/nix/store/x", "mode": "BOOT", "specialisation": "s"}, "specialisation"),
        ({"toplevel": "/nix/store/x", "retention": {}}, "retention"),
    ],
)
def test_wrong_manifests(ncc: Daemon, spec: dict[str, Any], field: str) -> None:
    document = {"kind": "Generation", "metadata": {"name": "system"}, "spec": spec}

    done = ncc.run("apply", "-f", "-", stdin=json.dumps(document))

    assert done.returncode == 2
    assert field in done.stderr


def _declared(toplevel: str, marker: Path | None = None) -> dict[str, Any]:
    spec: dict[str, Any] = {"toplevel": toplevel, "deadline": "30s"}
    if marker is not None:
        probe = {"name": "healthy", "command": {"argv": ["test", "-e", str(marker)]}, "timeout": "1s"}
        spec["probes"] = [probe]
    return {"kind": "Generation", "metadata": {"name": "system"}, "spec": spec}


def _state(ncc: Daemon) -> str:
    done = ncc.run("generation", "window", "-o", "json")
    return str(json.loads(done.stdout)["state"]) if done.returncode == 0 else ""


def _locked(lock: Path) -> bool:
    return subprocess.run(["flock", "-n", str(lock), "true"], check=False).returncode == 1


def _options(name: str, **options: Any) -> dict[str, Any]:
    return {"kind": "NixosOptions", "metadata": {"name": name}, "spec": {"options": options}}


def _held(host: ScriptHost) -> dict[str, Any]:
    path = Path(host.running) / "etc/nixcc/desired.json"
    return dict(json.loads(path.read_text())["options"]) if path.exists() else {}


def test_what_is_declared_becomes_one_generation_and_what_is_deleted_leaves_with_the_next(
    host: ScriptHost, ncc: Daemon
) -> None:
    host.install(host.system("a"))
    flake = host.flake()
    generation = {
        "kind": "Generation",
        "metadata": {"name": "system"},
        "spec": {"flake": f"path:{flake}", "attribute": "web"},
    }

    ncc.apply(
        _options("firewall", networking={"firewall": {"allowedTCPPorts": [22]}}),
        _options("web", networking={"firewall": {"allowedTCPPorts": [80]}, "hostName": "web"}),
        generation,
    )

    ready = [ncc.ready(kind, name)[0] for kind, name in (("NixosOptions", "web"), ("Generation", "system"))]
    assert ready == ["True", "True"]
    assert _held(host) == {"networking": {"firewall": {"allowedTCPPorts": [22, 80]}, "hostName": "web"}}
    assert len(host.actions) == 2, "one switch: test, then boot"
    assert json.loads(ncc.out("reconcile", "--wait", "-o", "json"))["changed"] == 0

    for port in (81, 82, 83):
        ncc.apply(_options("web", networking={"firewall": {"allowedTCPPorts": [port]}}), wait=False)
    until(lambda: _held(host) == {"networking": {"firewall": {"allowedTCPPorts": [22, 83]}}}, 20)
    until(lambda: len(host.actions) == 4, 20)

    conflict = (
        _options("other", networking={"hostName": "x"}),
        _options("another", networking={"hostName": "y"}),
    )
    ncc.apply(*conflict, wait=False)
    until(
        lambda: "they must agree" in str(ncc.json("get", "Generation", "system")),
        20,
    )
    assert _held(host) == {"networking": {"firewall": {"allowedTCPPorts": [22, 83]}}}
    ncc.out("delete", "NixosOptions", "other", "another", "--wait")

    ncc.out("delete", "NixosOptions", "web", "--wait")
    assert _held(host) == {"networking": {"firewall": {"allowedTCPPorts": [22]}}}
