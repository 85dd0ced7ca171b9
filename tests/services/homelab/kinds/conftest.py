"""Steps as the loop makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from common.manager import Action, Applied, Change


@pytest.fixture
def step() -> Callable[..., Applied]:
    """Applies a spec (None: deletes) to what the kind detects now."""

    def run(kind: Any, key: str, spec: Any) -> Applied:
        found = kind.detect([key])[key]
        have = None if found is None else found.spec
        action = Action.DELETE if spec is None else Action.CREATE if have is None else Action.UPDATE
        applied: Applied = kind.apply(Change(key, action, spec, have), lambda message, percent: None)
        return applied

    return run
