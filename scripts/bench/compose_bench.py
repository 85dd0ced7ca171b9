"""Compose files: those of the folder that NIXCC_COMPOSE_SAMPLES names are planned or refused, and none may fail."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from daemon import median, row

# By words of the faults; each one includes those before.
_UNSET = ("is not set; set it", "must be set")
_IMAGES = (*_UNSET, "has no image")
_FRAGMENTS = (
    *_IMAGES,
    "is not among",
    "is not there",
    "there is no service",
    "no such section",
    "there are none",
)
_REFUSED = {
    _UNSET: "refused, for variables alone",
    _IMAGES: "refused, for services without image, too",
    _FRAGMENTS: "refused, for parts that are not in them, too",
    (): "refused, for more",
}


def run() -> list[dict[str, Any]]:
    """Rows of the table; none where no samples are named."""
    from common.errors import InvalidRequest
    from services.homelab.compose.plan import plan
    from services.homelab.compose.verdicts import Verdict

    folder = os.environ.get("NIXCC_COMPOSE_SAMPLES", "")
    if not folder:
        print("  no compose files: NIXCC_COMPOSE_SAMPLES names no folder of them", file=sys.stderr)
        return []
    counts = dict.fromkeys(("planned", "planned, with fields missing", *_REFUSED.values(), "failed"), 0)
    times = []
    for path in sorted(Path(folder).rglob("*.y*ml")):
        text = path.read_text(errors="replace")
        start = time.perf_counter()
        try:
            found = plan(
                text, name="demo", directory=path.parent, variables={}, profiles=["*"], read=_content
            )
            missing = any(one.verdict is Verdict.UNSUPPORTED for one in found.fields)
            outcome = "planned, with fields missing" if missing else "planned"
        except InvalidRequest as error:
            outcome = _refused([one.description for one in error.violations])
        except Exception as error:  # counted: there must be none
            print(f"  {path}: {type(error).__name__}: {error}", file=sys.stderr)
            outcome = "failed"
        counts[outcome] += 1
        times.append((time.perf_counter() - start) * 1e3)
    rows = [row(f"compose files {outcome}", float(count), "files") for outcome, count in counts.items()]
    return [*rows, row("compose file, planned or refused, p50", median(times), "ms")]


def _refused(faults: Sequence[str]) -> str:
    """The first of the reasons that all of the faults come from, or else the last."""
    for words, outcome in _REFUSED.items():
        if all(any(word in fault for word in words) for fault in faults):
            return outcome
    return _REFUSED[()]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
