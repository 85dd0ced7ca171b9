"""A queue on a virtual clock."""

from __future__ import annotations

import pytest

from reconciler.queue import WorkQueue
from virtual_clock import VirtualClock, no_jitter


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def queue(clock: VirtualClock) -> WorkQueue[str]:
    return WorkQueue(clock=clock, call_later=clock.call_later, backoff=no_jitter())
