"""The texts of one project as one: each document goes over those before, as it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import InvalidRequest, Violation
from services.homelab.compose import interpolation
from services.homelab.compose.merging import layered
from services.homelab.compose.verdicts import Findings
from services.homelab.compose.yaml_text import documents

SECTIONS = ("services", "networks", "volumes", "secrets", "configs")


def layers(texts: Sequence[str], variables: Mapping[str, str], findings: Findings) -> dict[str, Any]:
    """All of them, with their variables replaced; `!reset` and `!override` stay where they had nothing to change."""
    found: dict[str, Any] = {}
    for text in texts:
        values, findings.lines = documents(text)
        for value in [one for one in values if one is not None] or [None]:
            if not isinstance(value, dict):
                raise InvalidRequest(
                    "the compose file is no mapping with services",
                    [Violation("", "must hold services:")],
                    next_step="give it the text of a compose file",
                )
            replaced = interpolation.tree(value, "", variables, findings)
            assert isinstance(replaced, dict)
            found = layered(found, replaced, SECTIONS)
    if len(texts) > 1:
        findings.lines = {}  # of which text, nobody could tell
    return found
