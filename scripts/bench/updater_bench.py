"""A check of a flake with ten local inputs, and whole updates of a host: both phases, lock file and commit."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))

from daemons import Daemon, daemon
from updater_flakes import SwitchedHost

INPUTS = 10
CHECKS, CYCLES = 5, 5


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    with tempfile.TemporaryDirectory(prefix="nixcc-bench-") as folder:
        # The host's own git settings must not count.
        os.environ.setdefault("GIT_CONFIG_GLOBAL", "/dev/null")
        host = SwitchedHost(Path(folder), inputs=INPUTS)
        services = ("system", "updater")
        with daemon(host.folder, *services, "reconciler", env=host.environment, services=services) as running:
            quiet = [_timed(running, 0, "check") for _ in range(CHECKS)]
            for source in host.sources:
                source.advance()
            moved = [_timed(running, 3, "check") for _ in range(CHECKS)]
            cycles, backs = [], []
            for _ in range(CYCLES):
                cycles.append(_timed(running, 0, "run"))
                backs.append(_timed(running, 0, "rollback"))
            host.sources[0].advance(code=2)
            undone = _timed(running, 9, "run")
    rows = [
        ("updater: ncc update check, 10 inputs, none moved, p50", statistics.median(quiet)),
        ("updater: ncc update check, 10 inputs, all moved, p50", statistics.median(moved)),
        ("updater: ncc update run, 10 inputs, checked to confirmed, p50", statistics.median(cycles)),
        ("updater: ncc update run, worst of 5", max(cycles)),
        ("updater: ncc update rollback, p50", statistics.median(backs)),
        ("updater: ncc update run whose activation fails, to rolled back", undone),
    ]
    return [{"name": name, "value": value, "unit": "s", "peer": "ours"} for name, value in rows]


def _timed(running: Daemon, code: int, *arguments: str) -> float:
    start = time.perf_counter()
    done = running.run("update", *arguments)
    seconds = time.perf_counter() - start
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return seconds


if __name__ == "__main__":
    for row in run():
        print(f"{row['value']:8.2f} {row['unit']}  {row['name']}")
