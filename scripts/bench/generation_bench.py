"""A switch to a built generation: asked for, probed, confirmed; what of it is ours; and how soon it is undone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))

from daemons import Daemon, daemon
from script_systems import ScriptHost

RUNS = 20


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    with tempfile.TemporaryDirectory(prefix="nixcc-bench-") as folder:
        host = ScriptHost(Path(folder))
        systems = [host.install(host.system("a")), host.system("b")]
        broken = host.system("c", code=2)
        # What no switch can do without: the scripts' own time, and Nix's to set the profile.
        bare = sorted(_bare(host, systems[number % 2]) for number in range(RUNS))
        host.install(systems[0])
        with daemon(host.folder, "system", "reconciler", env=host.environment) as running:
            whole = sorted(_switch(running, systems[(number + 1) % 2], 0) for number in range(RUNS))
            undone = sorted(_switch(running, broken, 9) for _ in range(RUNS))
            windows = sorted(_window(running, systems[(number + 1) % 2]) for number in range(RUNS))
            client = sorted(_timed(running, 0, "generation", "window") for _ in range(RUNS))
        guard = sorted(_guard() for _ in range(RUNS))
    middle = statistics.median
    rows = [
        ("generation: ncc generation switch, built, probe passing, to confirmed, p50", middle(whole), "ours"),
        ("generation: the same, slowest of 20", whole[-1], "ours"),
        ("generation: the scripts and nix-env alone, p50", middle(bare), "bare"),
        ("generation: our own overhead in it, p50", middle(whole) - middle(bare), "ours"),
        ("generation: window open to confirmed by the journal, p50", middle(windows), "ours"),
        ("generation: of the overhead, starting any ncc command, p50", middle(client), "ours"),
        ("generation: failed activation to rolled back, p50", middle(undone), "ours"),
        ("generation: guard process, start to end without a window, p50", middle(guard), "ours"),
    ]
    return [
        {"name": name, "value": round(value * 1e3, 1), "unit": "ms", "peer": peer}
        for name, value, peer in rows
    ]


def _bare(host: ScriptHost, toplevel: str) -> float:
    start = time.perf_counter()
    script = f"{toplevel}/bin/switch-to-configuration"
    subprocess.run([script, "test"], check=True, capture_output=True)
    host.nix("nix-env", "-p", str(host.driver.profile), "--set", toplevel)
    subprocess.run([script, "boot"], check=True, capture_output=True)
    return time.perf_counter() - start


def _switch(running: Daemon, toplevel: str, code: int) -> float:
    """One with a probe that passes."""
    declared = {
        "kind": "Generation",
        "metadata": {"name": "system"},
        "spec": {"toplevel": toplevel, "probes": [{"name": "p", "command": {"argv": ["true"]}}]},
        "policy": {"drift": "OBSERVE"},
    }
    running.out("apply", "-f", "-", stdin=json.dumps(declared))
    return _timed(running, code, "generation", "switch")


def _window(running: Daemon, toplevel: str) -> float:
    _switch(running, toplevel, 0)
    window = running.json("generation", "window")
    begin, end = window["start_time"], window["end_time"]
    return _seconds(end) - _seconds(begin)


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _timed(running: Daemon, code: int, *arguments: str) -> float:
    start = time.perf_counter()
    done = running.run(*arguments)
    seconds = time.perf_counter() - start
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return seconds


def _guard() -> float:
    from services.system.drivers import guard_start

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-S", guard_start.__file__, folder], check=True)
        return time.perf_counter() - start


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:<80} {row['value']:>10} {row['unit']}")
