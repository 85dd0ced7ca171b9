"""How a reconcile ended, and therefore when the key is looked at again."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import ControlError
from reconciler.resources import Ref


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to do until something changes. `changed`: the host was changed on the way."""

    changed: bool = False


@dataclass(frozen=True, slots=True)
class After:
    """Look again after `seconds`. `changed`: the host was changed on the way."""

    seconds: float
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """It failed and trying again may help: with backoff, not before `delay` seconds."""

    error: ControlError
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Blocked:
    """Something else must happen first; that wakes it."""

    on: tuple[Ref, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Terminal:
    """It failed and trying again is useless until something changes."""

    error: ControlError


Outcome = Done | After | Retry | Blocked | Terminal


def internal(error: Exception) -> ControlError:
    """The error as one of ours; a stranger is told by its name only, the log has the rest."""
    if isinstance(error, ControlError):
        return error
    return ControlError(f"internal error: {type(error).__name__}", next_step="see the daemon's log")


def failed(outcome: Outcome) -> bool:
    """Whether the resource could not be read or made so."""
    return isinstance(outcome, Retry | Terminal)
