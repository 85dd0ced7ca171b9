"""A long-running process gives back what a burst needed."""

from __future__ import annotations

import subprocess
import sys

# The interpreter's own allocator is not what is meant: it keeps its arenas. Large blocks are glibc's.
PROGRAM = """
import asyncio, sys
from common import memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

memory.keep_small()
memory._CHECK_SECONDS, memory._BURST = 0.05, 0.05

async def main():
    trimming = asyncio.create_task(memory.trim_forever()) if sys.argv[1] == "trim" else None
    await asyncio.sleep(0.1)
    before = resident()
    # Below the size that goes back at once, and the last one pins the top of the heap.
    blocks = [bytearray(b"x") * 40_000 for _ in range(3_000)]
    blocks = blocks[-1:]
    for _ in range(100):
        await asyncio.sleep(0.05)
        if resident() - before < 40_000_000:
            print("given back")
            return
    print("kept", resident() - before)

asyncio.run(main())
"""


def run(how: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


def test_a_burst_is_given_back() -> None:
    assert run("trim") == "given back"


def test_without_it_the_burst_would_be_kept() -> None:
    assert run("leave").startswith("kept")
