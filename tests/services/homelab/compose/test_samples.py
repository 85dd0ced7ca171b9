"""Compose files that others wrote, kept outside of this repository: NIXCC_COMPOSE_SAMPLES names their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.errors import InvalidRequest
from services.homelab.compose.plan import plan

FOLDER = os.environ.get("NIXCC_COMPOSE_SAMPLES", "")


def content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@pytest.mark.skipif(not FOLDER, reason="NIXCC_COMPOSE_SAMPLES names no folder of compose files")
def test_each_is_planned_or_refused_with_a_reason() -> None:
    files = sorted(path for path in Path(FOLDER).rglob("*.y*ml") if path.is_file())
    assert files
    outcomes = {"planned": 0, "refused": 0}
    for path in files:
        text = path.read_text(errors="replace")
        try:
            found = plan(text, name="demo", directory=path.parent, variables={}, profiles=["*"], read=content)
        except InvalidRequest as error:
            assert error.violations, path
            outcomes["refused"] += 1
            continue
        for service in found.containers:
            assert [
                field for field in found.fields if field.path.startswith(f"services.{service.service}")
            ], path
        outcomes["planned"] += 1
    print(outcomes)
