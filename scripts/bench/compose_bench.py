"""Compose files: those of the folder that NIXCC_COMPOSE_SAMPLES names are planned or refused, and none may fail."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from daemon import median, row


def run() -> list[dict[str, Any]]:
    """Rows of the table; none where no samples are named."""
    from common.errors import InvalidRequest
    from services.homelab.compose.plan import plan

    folder = os.environ.get("NIXCC_COMPOSE_SAMPLES", "")
    if not folder:
        print("  no compose files: NIXCC_COMPOSE_SAMPLES names no folder of them", file=sys.stderr)
        return []
    counts = {"planned": 0, "refused": 0, "failed": 0}
    times = []
    for path in sorted(Path(folder).rglob("*.y*ml")):
        text = path.read_text(errors="replace")
        start = time.perf_counter()
        try:
            plan(text, name="demo", directory=path.parent, variables={}, profiles=["*"], read=_content)
            outcome = "planned"
        except InvalidRequest:
            outcome = "refused"
        except Exception as error:  # counted: there must be none
            print(f"  {path}: {type(error).__name__}: {error}", file=sys.stderr)
            outcome = "failed"
        counts[outcome] += 1
        times.append((time.perf_counter() - start) * 1e3)
    found = [row(f"compose files {outcome}", float(count), "files") for outcome, count in counts.items()]
    return [*found, row("compose file, planned or refused, p50", median(times), "ms")]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
