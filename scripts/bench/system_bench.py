"""Files: how long a look at 1,000 of them takes, one heal, one hint, and holding 10,000; systemd-tmpfiles beside it."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from common.manager import Action, Change
from nixcc.system.v1.file_pb2 import File
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.kinds.file import FileKind

FILES = 1_000
BATCH = 256  # as the manager's runtime asks


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    with tempfile.TemporaryDirectory(prefix="nixcc-bench-") as folder:
        root = Path(folder)
        kind = FileKind(LinuxFileDriver(root))
        specs = [
            File(path=f"/etc/d{n % 10}/file-{n}", content=f"content of {n}\n", mode=0o644)
            for n in range(FILES)
        ]
        applied = [_seconds(functools.partial(_apply, kind, spec)) for spec in specs]
        gc.collect()
        gc.freeze()
        rows = [
            ("File: make one (fsync of file and folder)", statistics.median(applied) * 1e3, "ms", "ours"),
            (f"File: look at {FILES:,}, contents checked", _look(kind, specs) * 1e3, "ms", "ours"),
            *_tmpfiles(specs, root),
            ("File: heal one edited", _heal(kind, root, specs) * 1e3, "ms", "ours"),
            *_hints(kind, root, specs),
        ]
        gc.unfreeze()
    return [{"name": name, "value": value, "unit": unit, "peer": peer} for name, value, unit, peer in rows]


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _apply(kind: FileKind, spec: File) -> None:
    kind.apply(Change(spec.path, Action.CREATE, spec, None), lambda message, percent: None)


def _look(kind: FileKind, specs: Sequence[File]) -> float:
    keys = [spec.path for spec in specs]

    def once() -> None:
        for start in range(0, len(keys), BATCH):
            assert None not in kind.detect(keys[start : start + BATCH]).values()

    return statistics.median(_seconds(once) for _ in range(30))


def _heal(kind: FileKind, root: Path, specs: Sequence[File]) -> float:
    times = []
    for spec in specs[:100]:
        (root / spec.path[1:]).write_text("edited")
        start = time.perf_counter()
        kind.detect([spec.path])
        _apply(kind, spec)
        kind.detect([spec.path])
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _hints(kind: FileKind, root: Path, specs: Sequence[File]) -> list[tuple[str, float, str, str]]:
    arrived, told = Event(), [0.0]

    def emit(keys: Sequence[str]) -> None:
        told[0] = time.perf_counter()
        arrived.set()

    kind.watch(emit)
    try:
        many = [f"/srv/d{n % 100}/file-{n}" for n in range(10_000)]
        hold = _seconds(lambda: kind.hold(many))
        kind.hold([spec.path for spec in specs])
        times = []
        for spec in specs[:200]:
            arrived.clear()
            start = time.perf_counter()
            os.chmod(root / spec.path[1:], 0o600)
            if not arrived.wait(5):
                raise RuntimeError(f"no hint about {spec.path}")
            times.append(told[0] - start)
            time.sleep(0.001)  # so that two changes are two hints
    finally:
        kind.close()
    times.sort()
    return [
        ("File: hold 10,000 in 100 folders", hold * 1e3, "ms", "ours"),
        ("File: from chmod to the hint, p50", times[len(times) // 2] * 1e3, "ms", "ours"),
        ("File: from chmod to the hint, p99", times[len(times) * 99 // 100] * 1e3, "ms", "ours"),
    ]


def _tmpfiles(specs: Sequence[File], root: Path) -> list[tuple[str, float, str, str]]:
    """The same 1,000 files as `f+` rules of systemd-tmpfiles, which writes them anew each time."""
    tool = shutil.which("systemd-tmpfiles")
    if tool is None:
        return []
    rules = root / "rules.conf"
    rules.write_text(
        "".join(f"f+ {spec.path} 0644 - - - {spec.content.rstrip()}\\n\n" for spec in specs), encoding="utf-8"
    )
    argv = [tool, "--create", f"--root={root}", str(rules)]
    times = [_seconds(lambda: subprocess.run(argv, check=True, capture_output=True)) for _ in range(5)]
    name = f"File: {FILES:,} declared again, f+ writes them all"
    return [(name, statistics.median(times) * 1e3, "ms", "systemd-tmpfiles")]
