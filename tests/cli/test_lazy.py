"""Modules that come late: not loaded by short commands, and whole when they are looked into."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from cli import lazy
lazy.install()
import asyncio, difflib
assert type(asyncio).__name__ == "_LazyModule", type(asyncio)
assert "asyncio.events" not in sys.modules
assert difflib.get_close_matches("fiel", ["file"]) == ["file"]
assert asyncio.run(asyncio.sleep(0, "done")) == "done"
assert type(asyncio).__name__ == "module"
print("ok")
"""


def test_a_module_is_loaded_at_the_first_look() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("ok\n", "")
