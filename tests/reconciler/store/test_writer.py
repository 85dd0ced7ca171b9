"""kill -9 at each failpoint and at random moments: what was acknowledged is there, nothing is half-written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import store_writer
from common import failpoints
from reconciler.store import open_store

ROOT = Path(__file__).resolve().parents[3]
POINTS = ("store.before_commit", "store.in_transaction", "store.after_commit", "store.before_notify")
MOMENTS = 4


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_failpoint(tmp_path: Path, point: str, seed: int) -> None:
    await crash(tmp_path, point, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 25))
@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_failpoint_more_often(tmp_path: Path, point: str, seed: int) -> None:
    await crash(tmp_path, point, seed)


@pytest.mark.parametrize("seed", range(2))
async def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    await crash(tmp_path, "", seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 25))
async def test_killed_at_random_moments_more_often(tmp_path: Path, seed: int) -> None:
    await crash(tmp_path, "", seed)


async def crash(folder: Path, point: str, seed: int) -> None:
    """Kills the writer a few times over the same folder; each time it goes on where it was."""
    chance = random.Random(f"{point} {seed}")
    acknowledged = ring = 0
    for _ in range(MOMENTS):
        told = _run_until_killed(folder, chance, point)
        assert told[0].startswith("open ")
        assert int(told[0].split()[1]) >= acknowledged, "the revision went back"
        for line in told[1:]:
            word, number = line.split()
            acknowledged = max(acknowledged, int(number)) if word == "acknowledged" else acknowledged
            ring = max(ring, int(number)) if word == "ring" else ring
        store = await open_store(folder)
        try:
            assert store.revision >= acknowledged
            for revision in range(max(0, store.revision - 19), store.revision + 1):
                records = (await store.list(revision=revision)).records
                assert len(records) == (store_writer.SET if revision else 0)
                assert {record.value for record in records} <= {str(revision).encode() * 50}, "half a commit"
            entries = await store.ring_list("log")
            assert not ring or entries[-1][0] >= ring
            acknowledged = store.revision
        finally:
            await store.close()


def _run_until_killed(folder: Path, chance: random.Random, point: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if point:
        environment[failpoints.ENVIRONMENT] = f"{point}=kill:{chance.randrange(1, 60)}"
    writer = subprocess.Popen(
        [sys.executable, store_writer.__file__, str(folder), str(chance.randrange(100))],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    told = [writer.stdout.readline().strip()]
    if not point:
        delay = chance.uniform(0, 0.3)

        def kill() -> None:
            time.sleep(delay)
            writer.kill()

        threading.Thread(target=kill).start()
    told += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert writer.wait(30) == -signal.SIGKILL
    return told
