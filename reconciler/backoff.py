"""How long to wait before trying again: a key exponentially, all retries together by a token bucket."""

from __future__ import annotations

import random as randomness
from collections.abc import Callable

_DOUBLINGS = 60  # beyond them every delay is the cap; keeps 2.0**n from overflowing


class Backoff:
    """Delays in seconds that double with each failure: base, 2 base, 4 base … cap, ± jitter (a fraction)."""

    __slots__ = ("_random", "base", "cap", "jitter")

    def __init__(
        self,
        base: float = 0.1,
        cap: float = 300.0,
        jitter: float = 0.2,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self.base = base
        self.cap = cap
        self.jitter = jitter
        self._random = random

    def delay(self, failures: int) -> float:
        """Seconds after that many failures, before jitter; 0 for none."""
        if failures <= 0:
            return 0.0
        doublings = min(failures - 1, _DOUBLINGS)
        return min(self.cap, self.base * 2.0**doublings)

    def jittered(self, failures: int) -> float:
        """`delay` spread by the jitter, never past the cap."""
        spread = 1.0 + self.jitter * (2.0 * self._random() - 1.0)
        return min(self.cap, self.delay(failures) * spread)


class TokenBucket:
    """`rate` tokens a second, at most `burst` saved up; who finds none is told how long to wait for one."""

    __slots__ = ("_clock", "_tokens", "_updated", "burst", "max_wait", "rate")

    def __init__(
        self, clock: Callable[[], float], rate: float = 20.0, burst: int = 100, max_wait: float = 300.0
    ) -> None:
        self._clock = clock
        self.rate = rate
        self.burst = burst
        self.max_wait = max_wait
        self._tokens = float(burst)  # negative: that many are promised already
        self._updated = clock()

    def reserve(self) -> float:
        """Take a token; seconds until it is there, 0 for at once, never more than `max_wait`."""
        now = self._clock()
        if now > self._updated:
            self._tokens = min(float(self.burst), self._tokens + (now - self._updated) * self.rate)
            self._updated = now
        if self._tokens - 1.0 < -self.max_wait * self.rate:
            return self.max_wait  # promise nothing that lies further away
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self.rate)
