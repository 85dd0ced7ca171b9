"""Tells when somebody else keeps writing what we keep putting back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from reconciler.backoff import Backoff

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _History:
    heals: deque[float] = field(default_factory=deque)  # times of the last ones
    level: int = 0  # 0: calm
    allowed_at: float = 0.0  # while flapping: when the next heal may be


class FlapDetector(Generic[K]):
    """After five heals of a key within a minute, further ones must wait: 0.1 s, 0.2 s, 0.4 s … 5 min.

    A key is calm again once it needed no heal for a whole window beyond its wait.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        heals: int = 5,
        window: float = 60.0,
        backoff: Backoff | None = None,
    ) -> None:
        self._clock = clock
        self._heals = heals
        self._window = window
        self._backoff = backoff or Backoff()
        self._histories: dict[K, _History] = {}

    def heal(self, key: K) -> bool:
        """Before a heal. False: go ahead, it is counted. True: flapping, hold back for `delay(key)`."""
        now = self._clock()
        history = self._histories.setdefault(key, _History())
        if history.level and now >= history.allowed_at + self._window:
            history.level = 0
            history.heals.clear()
        if history.level == 0:
            while history.heals and history.heals[0] <= now - self._window:
                history.heals.popleft()
            if len(history.heals) < self._heals:
                history.heals.append(now)
                return False
            history.level = 1
            history.allowed_at = now + self._backoff.jittered(1)
            return True
        if now < history.allowed_at:
            return True
        history.level += 1
        history.allowed_at = now + self._backoff.jittered(history.level)
        return False

    def flapping(self, key: K) -> bool:
        """Whether the key was found flapping and is not calm again."""
        history = self._histories.get(key)
        return bool(history and history.level and self._clock() < history.allowed_at + self._window)

    def delay(self, key: K) -> float:
        """Seconds until the next heal may be; 0: now."""
        history = self._histories.get(key)
        return max(0.0, history.allowed_at - self._clock()) if history and history.level else 0.0

    def forget(self, key: K) -> None:
        """The key is gone."""
        self._histories.pop(key, None)
