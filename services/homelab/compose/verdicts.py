"""What becomes of each field of a compose file, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from common.errors import InvalidRequest, Violation

_MOST = 50


class Verdict(StrEnum):
    """What becomes of a field."""

    TAKEN = "TAKEN"
    # What runs is the same without it, or nearly.
    IGNORED = "IGNORED"
    # What runs would be something else: a stack with it is refused.
    UNSUPPORTED = "UNSUPPORTED"


@dataclass(frozen=True, slots=True)
class FieldVerdict:
    """One field: `services.web.ports[0]`; the reason is empty where it is taken."""

    path: str
    verdict: Verdict
    reason: str = ""


@dataclass
class Findings:
    """Collects verdicts and faults while a file is read. `lines`: where its fields are written."""

    lines: Mapping[str, int] = field(default_factory=dict)
    verdicts: list[FieldVerdict] = field(default_factory=list)
    faults: list[Violation] = field(default_factory=list)

    def taken(self, path: str) -> None:
        """It has its effect."""
        self.verdicts.append(FieldVerdict(path, Verdict.TAKEN))

    def ignored(self, path: str, reason: str) -> None:
        """It has none, and that does no harm."""
        self.verdicts.append(FieldVerdict(path, Verdict.IGNORED, reason))

    def unsupported(self, path: str, reason: str) -> None:
        """It has none, and something is missing then."""
        self.verdicts.append(FieldVerdict(path, Verdict.UNSUPPORTED, reason))

    def unknown(self, value: Mapping[str, Any], known: Collection[str], path: str) -> None:
        """Names the keys that nothing is known of."""
        for key in value:
            where = f"{path}.{key}"
            if key.startswith("x-"):
                self.ignored(where, "x- fields are for whoever reads the file")
            elif key not in known:
                self.unsupported(where, "compose knows no such field here")

    def fault(self, path: str, what: str) -> None:
        """It can't be."""
        line = self.line(path)
        self.faults.append(Violation(path, f"{what} (line {line})" if line else what))

    def line(self, path: str) -> int:
        """The line of a field, or of the nearest one around it; 0: unknown."""
        while path:
            if path in self.lines:
                return self.lines[path]
            cut = max(path.rfind("."), path.rfind("["))
            path = path[:cut] if cut > 0 else ""
        return 0

    def raise_faults(self) -> None:
        """InvalidRequest with all of them."""
        if self.faults:
            raise refused(self.faults)


def refused(faults: list[Violation]) -> InvalidRequest:
    """The error for them; the first is in its message."""
    first = faults[0]
    where = f"{first.field}: " if first.field else ""
    more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
    return InvalidRequest(
        f"the compose file can't be used: {where}{first.description}{more}",
        faults[:_MOST],
        next_step="correct the file; ncc homelab plan FILE shows all of it",
    )
