"""restic killed while it backs up, at random points: each time the repository is checked, at last all is restored.

Only kills that found it running count. NCC_BENCH_KILLS says how many (50).
"""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from common.errors import CommandFailed
from services.homelab.drivers.restic import Restic
from services.homelab.drivers.restic_repository import Repository

KILLS = int(os.environ.get("NCC_BENCH_KILLS", "50"))


def run() -> list[dict[str, Any]]:
    chance = random.Random()
    with tempfile.TemporaryDirectory(prefix="ncc-bench-") as name:
        folder = Path(name)
        password = folder / "password"
        password.touch(0o600)
        password.write_text("only for the benchmark\n")
        source = folder / "source"
        source.mkdir()
        restic, repository = Restic(folder / "work"), Repository(str(folder / "repository"), password)
        restic.init(repository)
        _change(source, chance)
        start = time.perf_counter()
        restic.backup(repository, [str(source)], tags=["bench"], report=lambda *_: None)
        usual = time.perf_counter() - start
        killed = clean = 0
        while killed < KILLS:
            _change(source, chance)
            killer = threading.Thread(target=_kill, args=(chance.uniform(0, usual),))
            killer.start()
            try:
                restic.backup(repository, [str(source)], tags=["bench"], report=lambda *_: None)
            except CommandFailed as error:
                if error.exit_code != -signal.SIGKILL:
                    raise
                killed += 1
                restic.check(repository)  # raises where it is damaged
                clean += 1
            killer.join()
        made = restic.backup(repository, [str(source)], tags=["bench"], report=lambda *_: None)
        restic.check(repository, data_percent=100)
        restic.restore(repository, made.snapshot, folder / "to")
        copy = folder / "to" / str(source).lstrip("/")
        equal = sum((copy / path.name).read_bytes() == path.read_bytes() for path in source.iterdir())
    rows = [
        (f"backup: killed at {killed} random points, checked clean", clean, "times"),
        (f"backup: files restored afterwards byte by byte, of {len(FILES)}", equal, "files"),
        ("backup: 16 MB of random bytes, not killed", usual, "s"),
    ]
    return [
        {"name": name, "value": round(value, 2), "unit": unit, "peer": "ours"} for name, value, unit in rows
    ]


FILES = [f"file{number}" for number in range(16)]


def _change(source: Path, chance: random.Random) -> None:
    for name in FILES:
        (source / name).write_bytes(chance.randbytes(1_000_000))


def _kill(wait: float) -> None:
    """Kills our restic so long after it has begun."""
    deadline = time.monotonic() + 5
    while not (found := _ours()) and time.monotonic() < deadline:
        time.sleep(0.005)  # between looks for the process
    time.sleep(wait)  # the random moment of its life that is measured
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has ended before


def _ours() -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text()
        except OSError:
            continue
        if "(restic)" in fields and int(fields.rpartition(")")[2].split()[1]) == os.getpid():
            found.append(int(name))
    return found


if __name__ == "__main__":
    for row in run():
        print(f"{row['value']:8.2f} {row['unit']}  {row['name']}")
