"""The loop on files: no-op passes, healing, the command line, memory and idle CPU, and how it grows to 10,000."""

from __future__ import annotations

import json
import os
import random
import stat
import time
from pathlib import Path
from typing import Any

from daemon import Daemon, median, percentile, row, running

HEALS = 300
IDLE_SECONDS = 30.0
# What a burst of work needed goes back to the kernel within five seconds.
SETTLED = 8.0


def run() -> list[dict[str, Any]]:
    """Rows of the table."""
    rows: list[dict[str, Any]] = []
    with running() as daemon:
        daemon.ncc("apply", "-f", str(manifest(daemon.folder, 1_000)), "--wait", "--timeout", "120s")
        rows += passes(daemon, 1_000)
        rows += heals(daemon, 1_000)
        rows.append(
            row(
                "ncc get File NAME, whole process, p50",
                median(daemon.timed("get", "File", "f7", runs=40)),
                "ms",
            )
        )
        rows.append(
            row(
                "ncc get File (1,000), whole process, p50", median(daemon.timed("get", "File", runs=20)), "ms"
            )
        )
        rows.append(row("ncc version, whole process, p50", median(daemon.timed("version", runs=20)), "ms"))
        time.sleep(SETTLED)  # what is measured is the daemon at rest
        rows.append(row("memory, all services in one process, 1,000 resources (PSS)", daemon.memory(), "MB"))
        rows.append(row("idle CPU, 1,000 resources", daemon.idle(IDLE_SECONDS), "%"))
    with running("--split") as daemon:
        daemon.ncc("apply", "-f", str(manifest(daemon.folder, 1_000)), "--wait", "--timeout", "120s")
        time.sleep(SETTLED)  # what is measured is the daemon at rest
        rows.append(row("memory, --split, 1,000 resources (PSS of all processes)", daemon.memory(), "MB"))
        rows.append(row("idle CPU, --split, 1,000 resources", daemon.idle(IDLE_SECONDS), "%"))
    with running() as daemon:
        start = time.perf_counter()
        daemon.ncc("apply", "-f", str(manifest(daemon.folder, 10_000)), "--wait", "--timeout", "300s")
        rows.append(row("apply --wait of 10,000 new files", time.perf_counter() - start, "s"))
        rows += passes(daemon, 10_000)
    return rows


def manifest(folder: Path, count: int) -> Path:
    """A manifest of so many small files in twenty folders."""
    path = folder / f"files-{count}.json"
    with path.open("w") as file:
        for number in range(count):
            spec = {"path": place(number), "content": content(number), "mode": "0644"}
            document = {"kind": "File", "metadata": {"name": f"f{number}"}, "spec": spec}
            file.write(json.dumps(document) + "\n---\n" * (number + 1 < count))
    return path.rename(path.with_suffix(".yaml"))


def place(number: int) -> str:
    """Where the file lies."""
    return f"/etc/site/d{number % 20}/f{number}.conf"


def content(number: int) -> str:
    """What it holds: 200 bytes or so."""
    return f"# file {number}\n" + "setting = value of some length\n" * 6


def passes(daemon: Daemon, count: int) -> list[dict[str, Any]]:
    """A full pass over what is in sync."""
    own, whole = [], []
    for _ in range(20 if count <= 1_000 else 8):
        start = time.perf_counter()
        result = json.loads(daemon.ncc("reconcile", "File", "--wait", "-o", "json"))
        whole.append((time.perf_counter() - start) * 1e3)
        if (result["resources"], result["changed"], result["failed"]) != (count, 0, 0):
            raise RuntimeError(f"not a no-op pass: {result}")
        own.append(result["seconds"] * 1e3)
    return [
        row(f"no-op pass over {count:,} files, own clock, p50", median(own), "ms"),
        row(f"no-op pass over {count:,} files, whole ncc reconcile, p50", median(whole), "ms"),
    ]


def heals(daemon: Daemon, count: int) -> list[dict[str, Any]]:
    """Files edited, deleted and chmodded behind its back, one at a time, until they are as declared."""
    times: dict[str, list[float]] = {"edited": [], "deleted": [], "chmodded": []}
    numbers = random.Random(7).sample(range(count), HEALS)
    for index, number in enumerate(numbers):
        path = Path(f"{daemon.root}{place(number)}")
        wanted = content(number).encode()
        what = list(times)[index % 3]
        start = time.perf_counter()
        if what == "edited":
            path.write_text("hacked\n")
        elif what == "deleted":
            path.unlink()
        else:
            path.chmod(0o600)
        while not well(path, wanted):
            if time.perf_counter() - start > 10:
                raise RuntimeError(f"{path} was not healed")
            time.sleep(0.0002)  # between looks; the file is healed in 5 ms
        times[what].append((time.perf_counter() - start) * 1e3)
        time.sleep(0.005)  # the next change is one of its own, not the echo of this one
    every = [value for values in times.values() for value in values]
    return [
        row(f"one of {count:,} files changed → healed, p50", percentile(every, 0.5), "ms"),
        row(f"one of {count:,} files changed → healed, p99", percentile(every, 0.99), "ms"),
        *(row(f"  {what}, p50", percentile(values, 0.5), "ms") for what, values in times.items()),
    ]


def well(path: Path, wanted: bytes) -> bool:
    """As declared."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode) == 0o644 and path.read_bytes() == wanted
    except FileNotFoundError:
        return False
