"""100 switches that must not last, in every way a switch can go wrong: how many left the old system as it was.

A run counts when the running system, the boot default and the profile are the old ones afterwards, and when the client
that was there to see it ended with the code that says so (9: rolled back; 1: refused; 0: a dry run undid nothing).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))

from daemons import NCC, Daemon, answering, daemon, start, until
from script_systems import ScriptHost
from services.system.drivers import guard_journal

_MANUAL = ("--confirm", "manual", "--deadline", "2s")


class Bench:
    """A host with its old system, and one it shall not keep."""

    def __init__(self, folder: Path) -> None:
        self.host = ScriptHost(folder)
        self.old = self.host.install(self.host.system("a"))
        self.new = self.host.system("b")
        self.broken = self.host.system("c", code=2)

    def untouched(self) -> bool:
        """Everything is the old system's."""
        host = self.host
        return {host.running, host.boot_default, host.driver.default()} == {self.old}

    def failed_activation(self, running: Daemon) -> bool:
        """The script ends with 2."""
        return running.run("generation", "switch", self.broken).returncode == 9

    def failing_probe(self, running: Daemon) -> bool:
        """What is declared is not well."""
        spec = {
            "toplevel": self.new,
            "deadline": "3s",
            "probes": [{"name": "p", "timeout": "1s", "command": {"argv": ["false"]}}],
        }
        document = {"kind": "Generation", "metadata": {"name": "system"}, "spec": spec}
        observed = {**document, "policy": {"drift": "OBSERVE"}}
        running.out("apply", "-f", "-", stdin=json.dumps(observed))
        code = running.run("generation", "switch").returncode
        running.out("delete", "generation", "system", "--wait")
        return code == 9

    def killed_client(self, running: Daemon) -> bool:
        """kill -9 of the command while it waits for the owner."""
        argv = [NCC, "generation", "switch", self.new, *_MANUAL]
        client = subprocess.Popen(
            argv, env=running.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: self._state() == "WAITING")
        client.kill()
        client.wait()
        return bool(until(lambda: self._state() == "ROLLED_BACK"))

    def dry_run(self, running: Daemon) -> bool:
        """A dry run of another system while the window is open; then the deadline passes."""
        running.out("generation", "switch", self.new, *_MANUAL, "--detach")
        until(lambda: self._state() == "WAITING")
        dry = running.run("generation", "diff", self.broken).returncode
        kept = self._state() == "WAITING" and self.host.running == self.new
        return bool(until(lambda: self._state() == "ROLLED_BACK")) and kept and dry == 0

    def killed_daemon(self, *, guard: bool, reboot: bool) -> bool:
        """kill -9 of the daemon in the window; also of the guard; also a reboot, which starts the boot default."""
        host = self.host
        first = start(host.folder, "system", "reconciler", env=host.environment)
        answering(first)
        first.out("generation", "switch", self.new, *_MANUAL, "--detach")
        until(lambda: self._state() == "WAITING")
        first.stop(signal.SIGKILL)
        if not guard:
            return bool(until(lambda: self._state() == "ROLLED_BACK"))
        pid = host.guard(host.windows_of_daemon.folder)
        os.kill(pid, signal.SIGKILL)
        if reboot:
            current = host.root / "run/current-system"
            current.unlink()
            current.symlink_to(host.boot_default)
            row = guard_journal.read_row(str(host.windows_of_daemon.folder))
            assert row is not None
            guard_journal.write_row(
                str(host.windows_of_daemon.folder), {**row, "boot_id": "the boot before this"}
            )
        with daemon(host.folder, "system", "reconciler", env=host.environment):
            return bool(until(lambda: self._state() == "ROLLED_BACK"))

    def _state(self) -> str:
        window = self.host.windows_of_daemon.last()
        return window.state.name if window else ""


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    rows: list[dict[str, Any]] = []

    def case(name: str, runs: int, attempt: Callable[[], bool], same: Callable[[], bool]) -> None:
        good = sum(attempt() and same() for _ in range(runs))
        rows.append({"name": f"safety: {name}", "value": good, "unit": f"of {runs}", "peer": "ours"})

    with tempfile.TemporaryDirectory(prefix="nixcc-bench-") as folder:
        bench = Bench(Path(folder))
        with daemon(bench.host.folder, "system", "reconciler", env=bench.host.environment) as running:
            for name, runs, attempt in (
                ("failed activation, the client sees 9", 20, bench.failed_activation),
                ("failing probe, the client sees 9", 15, bench.failing_probe),
                ("killed client, undone at the deadline", 15, bench.killed_client),
                ("dry run in the window, undoes nothing itself", 10, bench.dry_run),
            ):
                case(name, runs, lambda attempt=attempt: attempt(running), bench.untouched)  # type: ignore[misc]
        for name, runs, guard, reboot in (
            ("killed daemon, undone without it", 15, False, False),
            ("killed daemon and guard, undone when it is back", 10, True, False),
            ("reboot in the window", 10, True, True),
        ):
            case(
                name,
                runs,
                lambda guard=guard, reboot=reboot: bench.killed_daemon(guard=guard, reboot=reboot),  # type: ignore[misc]
                bench.untouched,
            )
    with tempfile.TemporaryDirectory(prefix="nixcc-bench-") as folder:
        fresh = ScriptHost(Path(folder))
        first = fresh.system("b")
        with daemon(fresh.folder, "system", "reconciler", env=fresh.environment) as running:
            case(
                "first switch ever, refused",
                5,
                lambda: running.run("generation", "switch", first).returncode == 1,
                lambda: fresh.actions == [],
            )
    total = sum(row["value"] for row in rows)
    rows.append({"name": "safety: all of them", "value": total, "unit": "of 100", "peer": "ours"})
    return rows


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:<60} {row['value']:>4} {row['unit']}")
