"""Lints the contracts with buf, and holds them against the main branch's for breaking changes.

Works on the image that is committed beside the generated code (a test keeps it current), so nothing is fetched.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "protos/gen/nixcc/api.binpb"
LINT = {"version": "v2", "lint": {"use": ["STANDARD", "COMMENTS"], "ignore": ["google"]}}
BREAKING = {"version": "v2", "breaking": {"use": ["FILE"], "ignore": ["google"]}}


def main() -> int:
    """0: fine; 1: buf's findings are on standard output."""
    buf = str(Path(sys.executable).parent / "buf")
    code = subprocess.run(
        [buf, "lint", IMAGE, "--config", json.dumps(LINT)], cwd=ROOT, check=False
    ).returncode
    with tempfile.TemporaryDirectory() as folder:
        before = Path(folder) / "main.binpb"
        before.write_bytes(_of_main())
        if before.stat().st_size:
            command = [buf, "breaking", IMAGE, "--against", str(before), "--config", json.dumps(BREAKING)]
            code |= subprocess.run(command, cwd=ROOT, check=False).returncode
    return code


def _of_main() -> bytes:
    """The image as the main branch has it; empty where there is none (no git, another branch's shallow clone)."""
    if shutil.which("git") is None:
        return b""
    for ref in ("origin/main", "main"):
        found = subprocess.run(["git", "show", f"{ref}:{IMAGE}"], cwd=ROOT, capture_output=True, check=False)
        if found.returncode == 0:
            return found.stdout
    return b""


if __name__ == "__main__":
    raise SystemExit(main())
