"""Replacements that failed are not tried again and again: for each try, the old container may have to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import WrongState
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import spec_label
from services.homelab.drivers.base import Json

# Seconds; each further wait is twice as long.
_FIRST, _MOST = 900.0, 86_400.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    case: tuple[str, ...]
    message: str
    next_step: str
    wait: float
    not_before: float


class Refusals:
    """By container. Kept in memory: a daemon that starts tries once. Any thread; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Refusal] = {}

    def check(self, name: str, spec: pb.Container, old: Json, image: str) -> None:
        """Raises what was wrong with this spec and image while `old` is as it was then, and it is too early."""
        with self._lock:
            known = self._known.get(name)
        if known is None or known.case != _case(spec, old, image):
            return
        left = known.not_before - self._clock()
        if left > 0:
            raise WrongState(
                known.message,
                next_step=f"{known.next_step}; it is tried again in {left / 60:.0f} min, or after "
                f"ncc homelab restart {name}",
            )

    def add(self, name: str, spec: pb.Container, old: Json, image: str, error: WrongState) -> None:
        """The new one wasn't well; `old` is as it is now."""
        case = _case(spec, old, image)
        with self._lock:
            known = self._known.get(name)
            # Since the last try the old one was started by that very try.
            again = known is not None and known.case[:-1] == case[:-1]
            wait = min(_MOST, known.wait * 2) if known is not None and again else _FIRST
            self._known[name] = _Refusal(case, error.message, error.next_step, wait, self._clock() + wait)

    def forget(self, name: str) -> None:
        """It went well."""
        with self._lock:
            self._known.pop(name, None)


def _case(spec: pb.Container, old: Json, image: str) -> tuple[str, ...]:
    """All that an outcome depends on, as far as it is known here; last since when the old one runs."""
    started = str((old.get("State") or {}).get("StartedAt", ""))
    return spec_label.written(spec), image, str(old.get("Id", "")), started
