"""NixOS's own list of its options, which is no part of the repository; tests that need it say where it is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

# Beside the checkout, where the project is made.
LIST = Path(
    os.environ.get("NIXCC_NIXOS_OPTIONS") or Path(__file__).parents[3] / "shared/data/nixos-options.json"
)
MISSING = "NixOS's list of options is not there: name one in NIXCC_NIXOS_OPTIONS"


def types() -> dict[str, str]:
    """Type by option; skips the test where the list is not there (it is data: no set-up can bring it)."""
    if not LIST.exists():
        pytest.skip(MISSING)
    return {row["Name"]: row["Type"] for row in json.loads(LIST.read_bytes())}
