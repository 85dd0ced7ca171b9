"""restic killed at random points, while it backs up and while it lets go of old snapshots.

After each kill the repository is checked with all of its data, and the snapshot that was good before is restored and
compared byte by byte. Only kills that found restic running count. NCC_BENCH_KILLS says how many of each (50).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import CommandFailed
from services.homelab.drivers.restic import Restic
from services.homelab.drivers.restic_repository import Repository

KILLS = int(os.environ.get("NCC_BENCH_KILLS", "50"))
FILES = [f"file{number}" for number in range(16)]
TAG = "bench"


def run() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="ncc-bench-") as name:
        bench = Bench(Path(name), random.Random())
        usual = bench.begin()
        backup = bench.killed(bench.backup, usual)
        # Something to let go of, and to pack anew, each time.
        forget = bench.killed(bench.forget, bench.time(bench.forget), before=bench.backup)
        bench.backup()
        last = bench.restored()
    rows = [
        (f"backup: killed at {KILLS} random points, all data checked clean", backup.clean, "times"),
        ("backup: the good snapshot of before restored byte by byte", backup.restored, "times"),
        (f"backup: forget and prune killed at {KILLS} random points, clean", forget.clean, "times"),
        ("backup: forget and prune: the newest restored byte by byte", forget.restored, "times"),
        (f"backup: files of the last one that are equal, of {len(FILES)}", last, "files"),
        ("backup: 16 MB of random bytes, not killed", usual, "s"),
    ]
    return [
        {"name": name, "value": round(value, 2), "unit": unit, "peer": "ours"} for name, value, unit in rows
    ]


@dataclass
class Outcome:
    """How many kills left it well."""

    clean: int = 0
    restored: int = 0


class Bench:
    """One repository, and what it should hold."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._folder, self._chance = folder, chance
        password = folder / "password"
        password.touch(0o600)
        password.write_text("only for the benchmark\n")
        self._source = folder / "source"
        self._source.mkdir()
        self._restic = Restic(folder / "work")
        self._repository = Repository(str(folder / "repository"), password)
        # What the newest good snapshot holds.
        self._good: dict[str, bytes] = {}
        self._snapshot = ""

    def begin(self) -> float:
        """Makes the repository and a first snapshot; how long that took, in seconds."""
        self._restic.init(self._repository)
        return self.time(self.backup)

    def time(self, work: Callable[[], None]) -> float:
        """In seconds."""
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    def backup(self) -> None:
        """Of files that have all changed."""
        content = {name: self._chance.randbytes(1_000_000) for name in FILES}
        for name, data in content.items():
            (self._source / name).write_bytes(data)
        made = self._restic.backup(self._repository, [str(self._source)], tags=[TAG], report=lambda *_: None)
        self._snapshot, self._good = made.snapshot, content

    def forget(self) -> None:
        """All but the newest."""
        self._restic.forget(self._repository, tags=[TAG], keep={"last": 1})

    def killed(
        self, work: Callable[[], None], usual: float, before: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Kills it KILLS times; raises where the repository is damaged."""
        found = Outcome()
        while found.clean < KILLS:
            before()
            killer = threading.Thread(target=_kill, args=(self._chance.uniform(0, usual),))
            killer.start()
            try:
                work()
            except CommandFailed as error:
                if error.exit_code != -signal.SIGKILL:
                    raise
                self._restic.check(self._repository, data_percent=100)
                found.clean += 1
                found.restored += self.restored() == len(FILES)
            killer.join()
        return found

    def restored(self) -> int:
        """How many files of the newest good snapshot are as they were."""
        target = self._folder / "to"
        self._restic.restore(self._repository, self._snapshot, target)
        copy = target / str(self._source).lstrip("/")
        equal = sum((copy / name).read_bytes() == data for name, data in self._good.items())
        shutil.rmtree(target)
        return equal


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
