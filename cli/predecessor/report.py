"""What became of every key."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cli.predecessor.tree import Leaf, dotted


class Outcome(StrEnum):
    """How a key was dealt with."""

    TAKEN = "taken"
    CHANGED = "taken differently"
    REFUSED = "not supported"


@dataclass(frozen=True, slots=True)
class Row:
    """One key of the predecessor's configuration. Never holds a value of it but a compose file's text."""

    key: str
    where: str
    outcome: Outcome
    # The resource that it went into, such as `NixosOptions/users`.
    into: str = ""
    why: str = ""
    # A compose file's content, secrets masked.
    text: str = ""

    def as_dict(self) -> dict[str, str]:
        """For programs; without what is empty."""
        rows = {
            "key": self.key,
            "where": self.where,
            "outcome": str(self.outcome),
            "into": self.into,
            "why": self.why,
            "text": self.text,
        }
        return {name: value for name, value in rows.items() if value}


@dataclass
class Import:
    """The result: documents to apply, and what to know before."""

    # `0`, `1` or `2`.
    version: str
    layout: str
    manifests: list[dict[str, Any]]
    rows: list[Row]
    warnings: list[str]
    # Files beside the configuration: path and what to do about each.
    others: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "version": self.version,
            "layout": self.layout,
            "counts": {str(one): sum(row.outcome is one for row in self.rows) for one in Outcome},
            "keys": [row.as_dict() for row in self.rows],
            "warnings": self.warnings,
            "files": [{"path": path, "why": why} for path, why in self.others],
        }


def row(leaf: Leaf, outcome: Outcome, *, into: str = "", why: str = "", text: str = "") -> Row:
    """The row of a leaf."""
    return Row(dotted(leaf.path), leaf.where, outcome, into, why, text)
