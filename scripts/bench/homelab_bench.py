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
# With fewer at once than services docker-compose 1.29 waits for itself without end.
COMPOSE_LIMITS = {"COMPOSE_PARALLEL_LIMIT": "1000", "COMPOSE_HTTP_TIMEOUT": "300"}
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
        return [*_healed(engine), *_looked_at(engine), *_same_project(engine), *_memory(engine)]


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
    return rows


def _same_project(engine: Any) -> list[dict[str, Any]]:
    """A project that docker-compose runs: what it takes to say so again, and what a pass over it takes as a Stack."""
    if not shutil.which("docker-compose"):
        print("  docker-compose is missing", file=sys.stderr)
        return []
    folder = engine.folder / "project"
    folder.mkdir()
    path = folder / "docker-compose.yml"
    service = {"image": "busybox:1", "command": COMMAND, "network_mode": "none", "stop_grace_period": "0s"}
    services = {f"bench{number}": service for number in range(LOOKED_AT)}
    path.write_text(json.dumps({"version": "3.8", "services": services}))
    composed = [_compose_up(folder, engine.address) for _ in range(4)][1:]  # the first made them
    before = _starts(engine)
    with _homelab(engine) as daemon:
        document = {"kind": "Stack", "metadata": {"name": "project"}, "spec": {"compose_file": str(path)}}
        manifest = daemon.folder / "stack.yaml"
        manifest.write_text(json.dumps(document))
        daemon.ncc("apply", "-f", str(manifest), "--wait", "--timeout", "120s")
        passes = [json.loads(daemon.ncc("reconcile", "Stack", "--wait", "-o", "json")) for _ in range(PASSES)]
        whole = daemon.timed("reconcile", "Stack", "--wait", runs=PASSES)
    kept = len(before & _starts(engine))
    _clear(engine)
    return [
        row(
            f"docker-compose up -d, project of {LOOKED_AT} unchanged, p50", median(composed), "ms", "compose"
        ),
        row(
            "  the same as a Stack, no-op pass, own clock, p50",
            median([one["seconds"] for one in passes]) * 1e3,
            "ms",
        ),
        row("  the same as a Stack, whole ncc reconcile, p50", median(whole), "ms"),
        row("  of its containers adopted without a restart", float(kept), f"of {LOOKED_AT}"),
    ]


def _starts(engine: Any) -> set[str]:
    """Each running container's id with the moment it was started."""
    ids = engine.docker("ps", "--quiet").stdout.split()
    return set(engine.docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", *ids).stdout.splitlines())


def _compose_up(folder: Path, address: str) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    subprocess.run(
        ["docker-compose", "up", "-d"],
        cwd=folder,
        env={**os.environ, "DOCKER_HOST": address, **COMPOSE_LIMITS},
        check=True,
        capture_output=True,
        timeout=300,
    )
    return (time.perf_counter() - start) * 1e3


def _memory(engine: Any) -> list[dict[str, Any]]:
    with _homelab(engine) as daemon:
        daemon.ncc("apply", "-f", str(loop_bench.manifest(daemon.folder, 1_000 - WATCHED)), "--wait")
        _apply(daemon, WATCHED)
        time.sleep(SETTLED)  # what is measured is the daemon at rest
        found = [
            row(
                f"memory, all services, 1,000 resources, {WATCHED} of them containers (PSS)",
                daemon.memory(),
                "MB",
            ),
            row(f"idle CPU, 1,000 resources, {WATCHED} of them containers", daemon.idle(20.0), "%"),
        ]
    _clear(engine)
    return found


def _homelab(engine: Any) -> Any:
    os.environ["NCC_HOMELAB_ENGINE"] = engine.address
    return running(services=("system", "hardware", "vm", "packages", "updater", "homelab"))


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
