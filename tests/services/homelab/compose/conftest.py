"""Plans of texts, with files that only the test knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from services.homelab.compose.plan import StackPlan, plan

FOLDER = Path("/srv/demo")


@pytest.fixture
def planned() -> Callable[..., StackPlan]:
    def run(text: str, files: Mapping[str, str] | None = None, **more: Any) -> StackPlan:
        there = {str(FOLDER / name): content.encode() for name, content in (files or {}).items()}
        given = {"name": "demo", "directory": FOLDER, "variables": {}, **more}
        return plan(text, read=lambda path: there.get(str(path)), **given)

    return run
