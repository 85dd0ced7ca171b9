"""Keeps a long-running process small: glibc and Python hold on to what a burst of work needed."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from pathlib import Path

# mallopt(3), malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_CHECK_SECONDS = 5.0
_GROWN = 2 * 2**20
_PAGE = os.sysconf("SC_PAGESIZE")


def keep_small() -> None:
    """Two arenas instead of one a thread; large buffers go back to the kernel when freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return  # not glibc
    mallopt(_M_ARENA_MAX, 2)
    mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
    mallopt(_M_TRIM_THRESHOLD, 128 * 1024)


async def trim_forever() -> None:
    """Gives memory back after bursts; looks every five seconds, which costs some microseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    small = 0
    while True:
        now = _resident()
        if now > small + _GROWN:
            gc.collect()
            # What lives now mostly lives for ever: later collections needn't look at it again.
            gc.freeze()
            trim(0)
            small = _resident()
        await asyncio.sleep(_CHECK_SECONDS)


def _resident() -> int:
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
