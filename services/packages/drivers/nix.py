"""Calls of Nix, with failures that only packages meet told apart."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from common.errors import CommandFailed, ControlError, NotFound, WrongState
from common.nix.failures import explained
from common.nix.program import BUILD, EVALUATION, Nix
from common.process import Completed
from services.packages.drivers.base import Tell

__all__ = ["BUILD", "EVALUATION", "failed", "nix", "nix_json", "nix_long", "nix_version", "sharper"]

_NIX = Nix()
_COLLISIONS = (
    # Up to 2.14.
    re.compile(r"(?:packages|files) '([^']+)' and '([^']+)' have the same priority (\d+)"),
    # Since: both files, and what to do about it.
    re.compile(
        r"already provides the following file:\s+(\S+).*?conflicting file[^:]*:\s+(\S+).*?priority[^\d]*(\d+)",
        re.DOTALL,
    ),
)


def nix(arguments: Sequence[str], *, timeout: float = EVALUATION) -> Completed:
    """`nix …` (or `nix-store …`, where the first argument begins so), to its end."""
    with _sharpened():
        return _NIX.run(arguments, timeout=timeout)


def nix_json(arguments: Sequence[str], *, timeout: float = EVALUATION) -> Any:
    """What it prints, as JSON."""
    with _sharpened():
        return _NIX.json(arguments, timeout=timeout)


def nix_long(what: str, arguments: Sequence[str], tell: Tell, cancel: threading.Event) -> Completed:
    """As `nix`, for what takes long: its progress is told, and it can be cancelled."""
    with _sharpened():
        return _NIX.long(what, arguments, tell, cancel)


def nix_version() -> tuple[int, ...]:
    """Such as (2, 8, 0)."""
    return _NIX.version()


def failed(error: CommandFailed) -> ControlError:
    """What the failure of a program of Nix's stands for."""
    return sharper(explained(error.stderr))


@contextmanager
def _sharpened() -> Iterator[None]:
    try:
        yield
    except ControlError as error:
        sharp = sharper(error)
        if sharp is error:
            raise
        raise sharp from error


def sharper(error: ControlError) -> ControlError:
    """The same, where more can be said of it."""
    for pattern in _COLLISIONS:
        if match := pattern.search(error.message):
            return WrongState(
                f"{match[1]} and {match[2]} are the same file of two packages with equal priority ({match[3]})",
                next_step="give one of them another priority (spec.priority: the lower number wins)",
            )
    if "requires lock file changes" in error.message:
        return WrongState(
            "the flake's lock file does not have all of its inputs", next_step="lock it first: nix flake lock"
        )
    if isinstance(error, NotFound) and "does not provide attribute" in error.message:
        return NotFound(error.message, next_step="ncc package search finds what it is called")
    return error
