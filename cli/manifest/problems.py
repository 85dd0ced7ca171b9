"""Where things stand in a manifest, and what is wrong with them: all of it, not only the first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from common.errors import InvalidRequest, Violation

# More than that nobody reads.
SHOWN = 200


class Position(NamedTuple):
    """A place in a file; line and column count from 1 (0: the whole file), columns in characters."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """One thing that is wrong, and where; line and column are 0 where it concerns the whole file."""

    file: str
    line: int
    column: int
    message: str

    @property
    def position(self) -> Position:
        """Where it is."""
        return Position(self.file, self.line, self.column)

    def __str__(self) -> str:
        return f"{self.position}: {self.message}"


class ManifestError(InvalidRequest):
    """The manifests can't be used. `problems` are all there are, in the order of the files."""

    def __init__(self, problems: Iterable[Problem], *, outcome: str = "nothing was applied") -> None:
        self.problems = list(problems)
        count = len(self.problems)
        shown = [Violation(str(problem.position), problem.message) for problem in self.problems[:SHOWN]]
        if count > SHOWN:
            shown.append(Violation("…", f"and {count - SHOWN} more"))
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the manifests; {outcome}", shown)


class SyntaxProblem(Exception):
    """A text that can't be read on from here; becomes a Problem."""

    def __init__(self, position: Position, text: str) -> None:
        super().__init__(text)
        self.problem = Problem(*position, text)
