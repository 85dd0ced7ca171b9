"""What a reference to an image is."""

from __future__ import annotations

import re

_IDENTIFIER = re.compile(r"sha256:[0-9a-f]{64}")


def is_identifier(reference: str) -> bool:
    """Whether it is an image's id, which no registry knows."""
    return _IDENTIFIER.fullmatch(reference) is not None
