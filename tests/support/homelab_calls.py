"""Calls of the homelab service in tests."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest


async def until(test: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def code(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return raised.value.code(), raised.value.details() or ""


async def lines(call: Any) -> list[Any]:
    return [line async for response in call for line in response.lines]


# Looking.


def threads() -> int:
    """Threads of this process but for those of the service's executor, which come when needed, and stay."""
    return sum(not thread.name.startswith("homelab_") for thread in threading.enumerate())


def sockets() -> int:
    """Open sockets of this process."""
    count = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            count += os.readlink(entry.path).startswith("socket:")
        except OSError:
            continue
    return count
