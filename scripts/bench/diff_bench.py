"""How long 1,000 file specs take to be compared with what was detected, and to be checked at admission."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

from common import spec
from nixcc.system.v1 import file_pb2
from reconciler.diff import diff

FILES = 1_000


def run() -> list[dict[str, Any]]:
    """Rows of the benchmark table, in milliseconds for all files; there is no peer."""
    desired = [file_pb2.File(path=f"/etc/{n}", content="x" * 200, mode=0o644) for n in range(FILES)]
    detected = [
        # As from the wire, not as the same objects.
        file_pb2.File.FromString(
            file_pb2.File(
                path=d.path, content=d.content, mode=d.mode, owner="root", group="root"
            ).SerializeToString()
        )
        for d in desired
    ]
    changed = [file_pb2.File(path=d.path, content="y" * 200, mode=0o600, owner="root") for d in desired]
    if any(map(diff, desired, detected)) or not all(map(diff, desired, changed)):
        raise AssertionError("the comparison is wrong, its speed means nothing")
    rows = [
        ("diff of 1,000 equal files", lambda: [diff(a, b) for a, b in zip(desired, detected, strict=True)]),
        ("diff of 1,000 changed files", lambda: [diff(a, b) for a, b in zip(desired, changed, strict=True)]),
        ("field rules of 1,000 files", lambda: [spec.violations(a) for a in desired]),
    ]
    return [{"name": name, "value": _best(work) * 1e3, "unit": "ms", "peer": "ours"} for name, work in rows]


def _best(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=1, repeat=20))


if __name__ == "__main__":
    for row in run():
        print(f"{row['value']:8.2f} {row['unit']}  {row['name']}")
