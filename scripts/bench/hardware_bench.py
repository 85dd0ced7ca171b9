"""The hardware scan beside lshw and lsblk, which tell less; and how soon a mount that is gone is noticed."""

from __future__ import annotations

import os
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.hardware.drivers.linux import LinuxHardwareDriver
from services.hardware.drivers.linux_mounts import LinuxMountDriver
from services.hardware.drivers.record import Record
from services.hardware.models.inventory import QUICK_PARTS

SCANS = 20
HINTS = 20

# What one scan costs who has nothing loaded yet.
FIRST = (
    "from services.hardware.drivers.linux import LinuxHardwareDriver as D; "
    "from services.hardware.models.inventory import QUICK_PARTS; "
    "print(D().scan(QUICK_PARTS).duration.total_seconds())"
)


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    driver = LinuxHardwareDriver()
    driver.scan(QUICK_PARTS)
    scans = []
    for _ in range(SCANS):
        duration = driver.scan(QUICK_PARTS).duration
        assert duration is not None
        scans.append(duration.total_seconds())
    driver.close()
    first = [
        float(subprocess.run([sys.executable, "-c", FIRST], check=True, capture_output=True).stdout)
        for _ in range(5)
    ]
    rows = [
        ("hardware: full scan, p50", statistics.median(scans) * 1e3, "ms", "ours"),
        ("hardware: full scan, worst of 20", max(scans) * 1e3, "ms", "ours"),
        (
            "hardware: first scan of a process, its own clock, p50",
            statistics.median(first) * 1e3,
            "ms",
            "ours",
        ),
        *_peer("lshw", "-json", "-quiet"),
        *_peer("lsblk", "-J", "-b", "-O"),
        *_hints(),
    ]
    return [{"name": name, "value": value, "unit": unit, "peer": peer} for name, value, unit, peer in rows]


def _peer(*command: str) -> list[tuple[str, float, str, str]]:
    if shutil.which(command[0]) is None:
        return []
    times = []
    for _ in range(10):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return [
        (
            f"hardware: {' '.join(command)}, whole process, p50",
            statistics.median(times) * 1e3,
            "ms",
            command[0],
        )
    ]


def _hints() -> list[tuple[str, float, str, str]]:
    """From umount(8)'s end to the hint that its mount point may have changed; needs root."""
    if os.geteuid() != 0:
        return []
    with tempfile.TemporaryDirectory(prefix="nixcc-bench-") as folder:
        driver = LinuxMountDriver(Record(Path(folder) / "record.json"))
        heard: queue.Queue[tuple[float, Sequence[str]]] = queue.Queue()
        driver.watch(lambda points: heard.put((time.perf_counter(), points)))
        point = str(Path(folder) / "mounted")
        os.mkdir(point)
        times = []
        for _ in range(HINTS):
            subprocess.run(["mount", "-t", "tmpfs", "scratch", point], check=True)
            _wait(heard, point)
            start = time.perf_counter()
            subprocess.run(["umount", point], check=True)
            times.append(_wait(heard, point) - start)
        driver.close()
    return [("Mount: from calling umount to the hint, p50", statistics.median(times) * 1e3, "ms", "ours")]


def _wait(heard: queue.Queue[tuple[float, Sequence[str]]], point: str) -> float:
    while True:
        moment, points = heard.get(timeout=5)
        if point in points:
            return moment


if __name__ == "__main__":
    for row in run():
        print(f"{row['value']:8.2f} {row['unit']}  {row['name']}")
