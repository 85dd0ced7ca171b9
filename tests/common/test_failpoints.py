from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common import failpoints

ROOT = Path(__file__).resolve().parents[2]


def test_parse() -> None:
    assert failpoints.parse("") == {}
    assert failpoints.parse("a.b=kill:3;c=kill;") == {"a.b": 3, "c": 1}


@pytest.mark.parametrize("text", ["a", "a=", "=kill:1", "a=raise:1", "a=kill:x", "a=kill:0", "a=kill:-1"])
def test_bad_syntax(text: str) -> None:
    with pytest.raises(ValueError, match="NCC_FAILPOINTS"):
        failpoints.parse(text)


def run(points: str) -> tuple[int, str]:
    code = "from common import failpoints\nfor n in range(5): print(n, flush=True); failpoints.hit('here')"
    environment = {**os.environ, "NCC_FAILPOINTS": points, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.replace("\n", "")


def test_kills_at_the_counted_hit() -> None:
    assert run("here=kill:3") == (-signal.SIGKILL, "012")
    assert run("here=kill") == (-signal.SIGKILL, "0")
    assert run("there=kill:3") == (0, "01234")
    assert run("here=kill:6") == (0, "01234")
