"""Commits until it is killed, telling each revision that was acknowledged: `python store_writer.py FOLDER SEED`.

Commit number n writes n into every object of a set, so that half a commit shows.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

SET = 4


async def main(folder: Path, seed: int) -> None:
    from reconciler.store import Put, open_store

    chance = random.Random(seed)
    store = await open_store(folder)
    print(f"open {store.revision}", flush=True)

    async def one() -> None:
        puts = [
            Put("A", str(n), lambda revision: str(revision).encode() * 50, expect=None) for n in range(SET)
        ]
        revision = await store.commit(puts)
        print(f"acknowledged {revision}", flush=True)
        if revision % 5 == 0:
            await store.ring_append("log", [(revision, str(revision).encode())])
            print(f"ring {revision}", flush=True)
        if revision % 40 == 0:
            await store.compact(keep=20)

    while True:
        await asyncio.gather(*(one() for _ in range(chance.randrange(1, 8))))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
