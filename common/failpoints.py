"""Named places where tests kill the process: `NCC_FAILPOINTS="store.after_commit=kill:3;…"` ends it with SIGKILL at the
third time it gets there. Without the variable a place costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal

ENVIRONMENT = "NCC_FAILPOINTS"


def parse(text: str) -> dict[str, int]:
    """Names and after how many hits to kill; raises ValueError for anything else."""
    points = {}
    for part in filter(None, text.split(";")):
        name, _, action = part.partition("=")
        verb, _, count = action.partition(":")
        if verb != "kill" or not name or not (count or "1").isdecimal() or int(count or 1) < 1:
            raise ValueError(f"{ENVIRONMENT}: {part!r} is not of the form name=kill:N")
        points[name] = int(count or 1)
    return points


_points = parse(os.environ.get(ENVIRONMENT, ""))


def hit(name: str) -> None:
    """Marks a place; kills the process when its count is reached."""
    left = _points.get(name)
    if left is None:
        return
    if left <= 1:
        os.kill(os.getpid(), signal.SIGKILL)
    _points[name] = left - 1
