"""Processes: everything in one, each service alone, one child each; killed, hung, drained, restarted."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import daemons
from daemons import Daemon, daemon, file, until

ALL = ("system", "hardware", "vm")


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[Daemon, Daemon, Daemon]]:
    """The reconciler, system and hardware, each a process of its own, as systemd units would run them."""
    with ExitStack() as stack:
        system = daemons.start(tmp_path, "system")
        hardware = daemons.start(tmp_path, "hardware")
        stack.callback(_end, system)
        stack.callback(_end, hardware)
        loop = stack.enter_context(daemon(tmp_path, "reconciler", services=("system", "hardware")))
        yield loop, system, hardware


def _end(started: Daemon) -> None:
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGCONT)
        started.stop(signal.SIGKILL)


def test_everything_in_one_process(tmp_path: Path) -> None:
    with daemon(tmp_path, services=ALL) as started:
        started.apply(file("motd", "/etc/motd", "hello\n"))
        path = started.root / "etc/motd"
        assert path.read_text() == "hello\n"

        path.write_text("hacked\n")
        until(lambda: path.read_text() == "hello\n")


def test_sockets_and_state_are_for_their_owner_alone(tmp_path: Path) -> None:
    with daemon(tmp_path / "run", services=ALL) as started:
        for path in started.folder.glob("*.sock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        state = started.folder / "state"
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        for path in state.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_sigterm_drains_and_leaves_no_socket(tmp_path: Path) -> None:
    with daemon(tmp_path) as started:
        started.apply(file("motd", "/etc/motd", "hello\n"))
        assert started.stop(signal.SIGTERM) == 0
        assert list(tmp_path.glob("*.sock")) == []
        assert "draining" in started.log


def test_a_restart_loses_nothing_and_heals_what_changed_meanwhile(tmp_path: Path) -> None:
    with daemon(tmp_path) as first:
        first.apply(file("a", "/etc/a", "a\n"), file("b", "/etc/b", "b\n"))
        uid = first.json("get", "File", "a")["items"][0]["metadata"]["uid"]
        first.stop(signal.SIGKILL)
    (first.root / "etc/a").write_text("hacked\n")
    (first.root / "etc/b").unlink()

    with daemon(tmp_path) as second:
        until(lambda: (second.root / "etc/b").exists() and (second.root / "etc/a").read_text() == "a\n")
        assert second.json("get", "File", "a")["items"][0]["metadata"]["uid"] == uid


def test_each_service_alone(apart: tuple[Daemon, Daemon, Daemon]) -> None:
    loop, _, _ = apart
    loop.apply(file("motd", "/etc/motd", "hello\n"))

    assert (loop.root / "etc/motd").read_text() == "hello\n"
    assert loop.json("hardware")["seconds"] > 0, "domain rpcs go through the public socket"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_service_that_is_killed_or_hangs_concerns_its_resources_only(
    apart: tuple[Daemon, Daemon, Daemon], number: signal.Signals
) -> None:
    loop, system, _ = apart
    loop.apply(file("motd", "/etc/motd", "hello\n"))

    system.process.send_signal(number)
    until(lambda: loop.ready("File", "motd") == ("Unknown", "ServiceUnavailable"), 30)
    refused = loop.run("apply", "-f", "-", stdin=json.dumps(file("x", "/etc/x", "x")))
    assert refused.returncode == 7
    assert "system" in refused.stderr
    assert loop.json("hardware")["seconds"] > 0, "the others go on"

    (loop.root / "etc/motd").write_text("hacked\n")
    if number is signal.SIGSTOP:
        system.process.send_signal(signal.SIGCONT)
    else:
        system.process.wait(5)
        again = daemons.start(loop.folder, "system")
    try:
        until(lambda: loop.ready("File", "motd")[0] == "True", 30)
        assert (loop.root / "etc/motd").read_text() == "hello\n"
    finally:
        if number is signal.SIGKILL:
            _end(again)


def test_split_runs_a_process_a_service_and_restarts_what_dies(tmp_path: Path) -> None:
    names = [*entry_points(group="nixcc.services"), *entry_points(group="nixcc.daemons")]
    with daemon(tmp_path, "--split", services=ALL) as started:
        started.apply(file("motd", "/etc/motd", "hello\n"))
        children = _children(started.process.pid)
        assert len(children) == len(names)
        victim = _listening(started, "system")

        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in _children(started.process.pid))
        (started.root / "etc/motd").write_text("hacked\n")
        until(lambda: (started.root / "etc/motd").read_text() == "hello\n", 30)
        until(lambda: len(_children(started.process.pid)) == len(names))
        remaining = _children(started.process.pid)
        assert started.stop(signal.SIGTERM) == 0
    for pid in remaining:
        assert not Path(f"/proc/{pid}").exists()


def test_a_killed_parent_takes_its_children_along(tmp_path: Path) -> None:
    with daemon(tmp_path, "--split", services=ALL) as started:
        children = _children(started.process.pid)
        started.stop(signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_two_daemons_never_share_a_state_folder(tmp_path: Path) -> None:
    with daemon(tmp_path) as started:
        second = subprocess.run(
            [
                *(daemons.NCC, "serve", "reconciler", "--state-dir", str(tmp_path / "state")),
                *("--socket", str(tmp_path / "other/nixcc.sock")),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 1
        assert f"in use by process {started.process.pid}" in second.stderr
        assert started.json("get")["items"] == []


def test_two_daemons_never_share_a_socket(tmp_path: Path) -> None:
    with daemon(tmp_path) as started:
        second = subprocess.run(
            [daemons.NCC, "serve", "--state-dir", str(tmp_path / "state2"), "--socket", str(started.socket)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert second.returncode == 1
        assert f"pid {started.process.pid}" in second.stderr
        assert started.json("get")["items"] == []


def test_a_socket_path_that_is_too_long_is_refused_with_the_reason(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100) / "nixcc.sock"

    done = subprocess.run(
        [daemons.NCC, "serve", "--state-dir", str(tmp_path / "s"), "--socket", str(long)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert "Unix sockets allow 107" in done.stderr
    assert not (tmp_path / "s").exists()


def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    done = daemons.Ncc(tmp_path).run("serve", "vmm", "--state-dir", str(tmp_path / "s"))

    assert done.returncode == 1
    assert "there is no service 'vmm'; choose among" in done.stderr


def test_metrics_are_kubernetes_names_on_loopback(tmp_path: Path) -> None:
    port = _free_port()
    with daemon(tmp_path, "--metrics-port", str(port)) as started:
        started.apply(file("motd", "/etc/motd", "hello\n"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    for name in (
        'workqueue_adds_total{name="system"}',
        "workqueue_queue_duration_seconds_bucket",
        "workqueue_work_duration_seconds_bucket",
        'controller_runtime_reconcile_total{controller="system",result="success"}',
        "controller_runtime_reconcile_time_seconds_bucket",
        "grpc_server_call_duration_seconds_bucket",
    ):
        assert name in text, name


def test_a_trace_goes_from_the_call_to_the_service(tmp_path: Path) -> None:
    spans = tmp_path / "spans.jsonl"
    with daemon(tmp_path, "--trace", str(spans)) as started:
        document = json.dumps(file("motd", "/etc/motd", "hello\n"))
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        started.run("apply", "-f", "-", "--wait", stdin=document, env={"TRACEPARENT": parent})

    rows = [json.loads(line) for line in spans.read_text().splitlines() if line.strip()]
    mine = {
        row["name"] for row in rows if row["context"]["trace_id"].endswith("0af7651916cd43dd8448eb211c80319c")
    }
    assert {"Apply", "reconcile"} <= mine
    assert "hello" not in spans.read_text()
    assert stat.S_IMODE(spans.stat().st_mode) == 0o600


HUNG = """
import sys, time
from pathlib import Path
from common import daemon, settings
from common.manager import Service

class Point:
    name = "hung"
    def load(self):
        def create(context):
            context.executor.submit(time.sleep, 3600)
            return Service("hung", [], "memory", lambda server: None, [], close=lambda: time.sleep(3600))
        return create

daemon._THREADS_GRACE = 0.2
import common.host
common.host.GRACE = 0.2
daemon.services, daemon.daemons = (lambda: {"hung": Point()}), dict
folder = Path(sys.argv[1])
sys.exit(daemon.run(settings.ServeSettings(("hung",), folder / "state", folder / "nixcc.sock")))
"""


def test_sigterm_ends_it_though_a_backend_hangs(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", HUNG, str(tmp_path)], stdout=log, stderr=log)
    try:
        until(lambda: "ready" in (tmp_path / "log").read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    assert "hang and are left behind" in (tmp_path / "log").read_text()
    assert list(tmp_path.glob("*.sock")) == []


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _listening(started: Daemon, service: str) -> int:
    """The process that holds the service's lock."""
    return int((started.folder / f"{service}.lock").read_text())


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
