"""Containers on a real dockerd: killed or removed -> running again, a look at 200 beside docker-compose's, memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import loop_bench
from daemon import Daemon, median, percentile, row, running

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests/support"))

HEALED, LOOKED_AT, WATCHED = 40, 200, 100
# docker-compose may not get through with as many.
COMPOSED = (20, LOOKED_AT)
LONGEST = 300.0
PASSES = 10
PATIENCE = 20.0
# What a burst of work needed goes back to the kernel within five seconds.
SETTLED = 8.0
COMMAND = ["sh", "-c", "trap exit TERM; sleep infinity & wait"]


def run() -> list[dict[str, Any]]:
    """Rows of the table; none where dockerd can't run."""
    if os.geteuid() or not shutil.which("dockerd"):
        print("  no containers: dockerd and root are needed", file=sys.stderr)
        return []
    from dockerd import dockerd

    with dockerd() as engine:
        engine.busybox()
        return [*_healed(engine), *_looked_at(engine), *_memory(engine)]


def _healed(engine: Any) -> list[dict[str, Any]]:
    from services.homelab.drivers.docker import DockerEngine

    driver = DockerEngine(engine.address)
    rows = []
    with _homelab(engine) as daemon:
        _apply(daemon, HEALED)
        for what in ("killed", "removed"):
            times, bare = [], []
            for number in range(HEALED):
                name = f"bench{number}"
                before = _started(driver, name)
                if what == "killed":
                    driver.containers.kill(name)
                else:
                    driver.containers.remove(name, force=True)
                start = time.perf_counter()
                while (now := _started(driver, name)) in ("", before):
                    if time.perf_counter() - start > PATIENCE:
                        raise RuntimeError(f"{name} is not started again")
                    time.sleep(0.002)  # between looks
                times.append((time.perf_counter() - start) * 1e3)
                assert now
                time.sleep(0.1)  # the loop's own look afterwards belongs to this heal, not to the next one
            for number in range(HEALED):
                # The engine alone, nothing else to do.
                body = {"Image": "busybox:1", "Cmd": COMMAND, "HostConfig": {"NetworkMode": "none"}}
                name = f"bare{number}"
                if what == "killed":
                    driver.containers.create(name, body)
                start = time.perf_counter()
                if what == "removed":
                    driver.containers.create(name, body)
                driver.containers.start(name)
                bare.append((time.perf_counter() - start) * 1e3)
                driver.containers.remove(name, force=True)
            rows += [
                row(f"container {what} -> running again, p50 of {HEALED}", median(times), "ms"),
                row(f"container {what} -> running again, p99 of {HEALED}", percentile(times, 0.99), "ms"),
                row("  the engine alone for it, p50", median(bare), "ms", "dockerd"),
                row("  ours in it, p50", median(times) - median(bare), "ms"),
            ]
    driver.close()
    _clear(engine)
    return rows


def _looked_at(engine: Any) -> list[dict[str, Any]]:
    rows = []
    with _homelab(engine) as daemon:
        _apply(daemon, LOOKED_AT)
        time.sleep(1.0)  # what the engine still tells of their starts is no part of a quiet pass
        passes = [
            json.loads(daemon.ncc("reconcile", "Container", "--wait", "-o", "json")) for _ in range(PASSES)
        ]
        whole = daemon.timed("reconcile", "Container", "--wait", runs=PASSES)
        rows.append(
            row(
                f"no-op pass over {LOOKED_AT} containers, own clock, p50",
                median([one["seconds"] for one in passes]) * 1e3,
                "ms",
            )
        )
        rows.append(
            row(f"no-op pass over {LOOKED_AT} containers, whole ncc reconcile, p50", median(whole), "ms")
        )
    _clear(engine)
    if shutil.which("docker-compose"):
        for count in COMPOSED:
            times = _composed(engine, count)
            if times is None:
                print(f"  docker-compose up -d did not end within {LONGEST:.0f} s", file=sys.stderr)
            else:
                rows.append(
                    row(f"docker-compose up -d, {count} unchanged, p50", median(times), "ms", "compose")
                )
            _clear(engine)
    return rows


def _composed(engine: Any, count: int) -> list[float] | None:
    """Milliseconds of each call on what is so already; None: making them took too long."""
    folder = engine.folder / f"project{count}"
    folder.mkdir()
    service = {"image": "busybox:1", "command": COMMAND, "network_mode": "none", "stop_grace_period": "0s"}
    services = {f"bench{number}": service for number in range(count)}
    (folder / "docker-compose.yml").write_text(json.dumps({"version": "3.8", "services": services}))
    environment = {**os.environ, "DOCKER_HOST": engine.address}
    times = []
    for _ in range(4):
        start = time.perf_counter()
        try:
            subprocess.run(
                ["docker-compose", "up", "-d"],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
                timeout=LONGEST,
            )
        except subprocess.TimeoutExpired:
            return None
        times.append((time.perf_counter() - start) * 1e3)
    return times[1:]  # the first made them


def _memory(engine: Any) -> list[dict[str, Any]]:
    with _homelab(engine) as daemon:
        daemon.ncc("apply", "-f", str(loop_bench.manifest(daemon.folder, 1_000 - WATCHED)), "--wait")
        _apply(daemon, WATCHED)
        time.sleep(SETTLED)  # what is measured is the daemon at rest
        found = [
            row(f"memory, 1,000 resources, {WATCHED} of them containers (PSS)", daemon.memory(), "MB"),
            row(f"idle CPU, 1,000 resources, {WATCHED} of them containers", daemon.idle(20.0), "%"),
        ]
    _clear(engine)
    return found


def _homelab(engine: Any) -> Any:
    os.environ["NCC_HOMELAB_ENGINE"] = engine.address
    return running(services=("system", "homelab"))


def _apply(daemon: Daemon, count: int) -> None:
    spec = {"image": "busybox:1", "command": COMMAND, "network_mode": "none", "stop_grace": "0s"}
    documents = [
        {"kind": "Container", "metadata": {"name": f"bench{number}"}, "spec": spec} for number in range(count)
    ]
    path = daemon.folder / "containers.yaml"
    path.write_text("\n---\n".join(map(json.dumps, documents)))
    daemon.ncc("apply", "-f", str(path), "--wait", "--timeout", "300s")


def _started(driver: Any, name: str) -> str:
    """When it was started, while it runs; else empty."""
    state = (driver.containers.inspect(name) or {}).get("State") or {}
    return str(state.get("StartedAt")) if state.get("Running") else ""


def _clear(engine: Any) -> None:
    names = engine.docker("ps", "--all", "--quiet").stdout.split()
    for start in range(0, len(names), 50):
        engine.docker("rm", "--force", *names[start : start + 50])
