"""Starts a real `ncc serve` for the benchmarks, and measures processes from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NCC = str(Path(sys.executable).parent / "ncc")
TICKS = os.sysconf("SC_CLK_TCK")


class Daemon:
    """A running control center under a folder of its own."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        uri: str = "test:///default",
        root: Path | None = None,
        services: Sequence[str] = ("system", "hardware", "vm"),
    ) -> None:
        self.folder = folder
        self.root = root or folder / "root"
        self.root.mkdir(exist_ok=True)
        self.socket = folder / "nixcc.sock"
        self.environment = {**os.environ, "NCC_SOCKET": str(self.socket), "NCC_VM_URI": uri}
        self.log = (folder / "log").open("ab")
        command = [NCC, "serve", *options, "--state-dir", str(folder / "state"), "--socket", str(self.socket)]
        self.process = subprocess.Popen(
            [*command, "--root", str(self.root)],
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
        )
        self._wait([f"service {name}" for name in services])

    def ncc(self, *arguments: str, fine: Sequence[int] = (0,)) -> str:
        """Runs a command; its output."""
        done = subprocess.run(
            [NCC, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode not in fine:
            raise RuntimeError(f"ncc {' '.join(arguments)}: {done.returncode}: {done.stderr}")
        return done.stdout

    def timed(self, *arguments: str, runs: int) -> list[float]:
        """Milliseconds of whole processes, sorted."""
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            self.ncc(*arguments)
            times.append((time.perf_counter() - start) * 1e3)
        return sorted(times)

    def processes(self) -> list[int]:
        """The daemon and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def memory(self) -> float:
        """MB of proportional set size, all processes."""
        total = 0
        for pid in self.processes():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total * 1024 / 1e6

    def idle(self, seconds: float) -> float:
        """Percent of one core while nobody asks for anything."""
        before = self._ticks()
        time.sleep(seconds)  # the time in which nobody asks is what is measured
        return (self._ticks() - before) / TICKS / seconds * 100

    def stop(self) -> None:
        """SIGTERM, and the end."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def _ticks(self) -> int:
        total = 0
        for pid in self.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total

    def _wait(self, wanted: Sequence[str]) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"ncc serve ended: {(self.folder / 'log').read_text()[-2000:]}")
            done = subprocess.run(
                [NCC, "doctor", "-o", "json"],
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.stdout:
                rows: Any = json.loads(done.stdout)["findings"]
                levels = {row["what"]: row["level"] for row in rows}
                if all(levels.get(what) == "ok" for what in ("daemon", *wanted)):
                    return
            time.sleep(0.05)  # between looks whether it is ready
        raise RuntimeError(f"ncc serve is not ready: {(self.folder / 'log').read_text()[-2000:]}")


@contextmanager
def running(*options: str, **keywords: Any) -> Iterator[Daemon]:
    """A daemon in a temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="nixcc-bench-"))
    try:
        daemon = Daemon(folder, *options, **keywords)
        try:
            yield daemon
        finally:
            daemon.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def row(name: str, value: float, unit: str, peer: str = "") -> dict[str, Any]:
    """One line of the table."""
    return {"name": name, "value": round(value, 4), "unit": unit, "peer": peer}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the sorted values stay at or below."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)
