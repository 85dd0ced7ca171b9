"""Keeps a long-running process small: glibc and Python hold on to what a burst of work needed."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import time

# mallopt(3), malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_CHECK_SECONDS = 3.0
# Seconds of processor time: a burst is over when less was used since the last look, and worth trimming past the other.
_IDLE, _BURST = 0.1, 0.4


def keep_small() -> None:
    """Two arenas instead of one a thread; large buffers go back to the kernel when freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return  # not glibc
    mallopt(_M_ARENA_MAX, 2)
    mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
    mallopt(_M_TRIM_THRESHOLD, 128 * 1024)


async def trim_forever() -> None:
    """Gives memory back after each burst of work; looking every three seconds costs some microseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    gc.collect()
    # Modules and servers live for ever: later collections needn't look at them. Once: what is frozen is never freed.
    gc.freeze()
    trimmed = seen = 0.0
    while True:
        now = time.process_time()
        if now - seen < _IDLE and now - trimmed > _BURST:
            gc.collect()
            trim(0)
            trimmed = time.process_time()
        seen = now
        await asyncio.sleep(_CHECK_SECONDS)
