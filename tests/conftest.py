from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable

import pytest

Require = Callable[..., None]


@pytest.fixture(scope="session")
def require() -> Require:
    """`require(binary=…, module=…, root=True, when=…, reason=…)`: skips, saying what is missing; in CI it fails."""
    return _require


def _require(
    *, binary: str = "", module: str = "", root: bool = False, when: bool = True, reason: str = ""
) -> None:
    missing = ""
    if binary and shutil.which(binary) is None:
        missing = f"{binary} is not installed"
    elif module and importlib.util.find_spec(module) is None:
        missing = f"the Python module {module} is not installed"
    elif root and os.geteuid() != 0:
        missing = "needs root"
    elif not when:
        missing = reason
    if not missing:
        return
    because = f"; {reason}" if reason and reason != missing else ""
    text = f"{missing}{because} (make test installs what it needs as root)"
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI nothing may be missing: {text}", pytrace=False)
    pytest.skip(text)
