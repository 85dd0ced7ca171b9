"""Runs the benchmarks, prints ours and the peers' side by side, and writes build/bench.json.

Usage: run.py [NAME…]    (without names: all; a name is a file of this folder without _bench.py)
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import structlog

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
OUTPUT = ROOT / "build/bench.json"


def main(names: list[str]) -> int:
    """0 when every benchmark ran."""
    # What is begun and ended, as of restic, is no figure.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    sys.path.insert(0, str(FOLDER))
    files = sorted(FOLDER.glob("*_bench.py"))
    known = {path.name.removesuffix("_bench.py"): path for path in files}
    for name in names:
        if name not in known:
            print(f"there is no benchmark {name!r}; there are {', '.join(known)}", file=sys.stderr)
            return 2
    rows: list[dict[str, Any]] = []
    failed = []
    for name in names or known:
        print(f"… {name}", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            rows += _load(known[name]).run()
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"  {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    _print(rows)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {OUTPUT.relative_to(ROOT)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def _print(rows: list[dict[str, Any]]) -> None:
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        value = (
            f"{row['value']:,.3f}".rstrip("0").rstrip(".")
            if isinstance(row["value"], float)
            else row["value"]
        )
        print(f"{row['name']:<{width}}  {value:>12} {row['unit']:<8} {row.get('peer') or ''}".rstrip())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
