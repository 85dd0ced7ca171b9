"""How far Nix is, from its events: one number that never falls, one sentence, and the log."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from common.nix.events import Activity, Event, Message, Result, ResultType, Start, Stop, parse, plain
from nixcc.resource.v1.resource_pb2 import Progress

# Lines of a failing build that are kept.
_TAIL = 25
# Characters of a line that are told: a message has to fit into its answer.
_WIDTH = 4_000
# No count is higher.
_MOST = 2**63
# Messages up to this level are worth a line of the log: errors, warnings, notices and what is built.
_LEVEL = 3


@dataclass
class _Count:
    """Of one sort of work, or of one activity."""

    done: int = 0
    expected: int = 0


@dataclass
class _Build:
    name: str
    phase: str = ""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))


class ProgressMeter:
    """Takes the lines of one Nix command."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._percent = 0
        self._sorts: dict[int, int] = {}
        # Sums by sort, and what each living activity has in them: updates copy thousands of paths.
        self._totals: dict[int, _Count] = {}
        self._shares: dict[int, _Count] = {}
        self._told = (0, "")
        self._builds: dict[int, _Build] = {}
        # Logs of builds that ended, the last ones: what failed is told after its build has stopped.
        self._ended: deque[_Build] = deque(maxlen=4)
        self._expected_bytes: dict[int, int] = {}
        self.errors: list[Message] = []

    def feed(self, line: str) -> Progress | None:
        """What is worth telling after a line; None: nothing new."""
        event = parse(line)
        log_line = None if event is None else self._take(event)
        if event is None or isinstance(event, Stop):
            return None
        percent = self._fraction()
        if percent is not None:
            self._percent = max(self._percent, min(99, percent))
        now = (self._percent, self._sentence())
        if log_line is None and now == self._told:
            return None
        self._told = now
        progress = Progress(message=now[1], log_line=log_line)
        if self._percent:
            progress.percent = self._percent
        return progress

    def failed_build(self, derivation: str) -> list[str]:
        """The last lines of a build's log."""
        for build in (*self._builds.values(), *self._ended):
            if build.name == _name(derivation):
                return list(build.log)
        return []

    def _take(self, event: Event) -> str | None:
        """Counts the event; gives a line for the log."""
        if isinstance(event, Message):
            if event.level == 0:
                self.errors.append(event)
            return event.text[:_WIDTH] if event.level <= _LEVEL else None
        if isinstance(event, Start):
            self._sorts[event.id] = event.type
            self._shares.pop(event.id, None)
            if event.type == Activity.BUILD and event.fields:
                self._builds[event.id] = _Build(_name(str(event.fields[0])))
            return event.text if event.type in (Activity.BUILD, Activity.COPY_PATH) and event.text else None
        if isinstance(event, Stop):
            ended = self._builds.pop(event.id, None)
            if ended is not None:
                self._ended.append(ended)
            self._sorts.pop(event.id, None)
            self._shares.pop(event.id, None)
            return None
        return self._result(event)

    def _result(self, event: Result) -> str | None:
        build = self._builds.get(event.id)
        fields = event.fields
        if event.type in (ResultType.BUILD_LOG_LINE, ResultType.POST_BUILD_LOG_LINE) and fields:
            line = plain(str(fields[0])[:_WIDTH]).rstrip()
            if build is None:
                return line
            build.log.append(line)
            return f"{build.name}> {line}"
        if event.type == ResultType.SET_PHASE and fields and build is not None:
            build.phase = str(fields[0])
        numbers = [min(max(0, value), _MOST) for value in fields if isinstance(value, int)]
        if event.type == ResultType.PROGRESS and len(numbers) >= 4 and event.id in self._sorts:
            self._count(event.id, _Count(numbers[0], numbers[1]))
        elif event.type == ResultType.SET_EXPECTED and len(numbers) >= 2:
            self._expected_bytes[numbers[0]] = numbers[1]
        return None

    def _count(self, activity: int, now: _Count) -> None:
        before = self._shares.get(activity, _Count())
        total = self._totals.setdefault(self._sorts[activity], _Count())
        total.done += now.done - before.done
        total.expected += now.expected - before.expected
        self._shares[activity] = now

    def _total(self, sort: int) -> _Count:
        return self._totals.get(sort, _Count())

    def _fraction(self) -> int | None:
        builds, copies = self._total(Activity.BUILDS), self._total(Activity.COPY_PATHS)
        expected = builds.expected + copies.expected
        if expected <= 0:
            return None
        return 100 * (builds.done + copies.done) // max(expected, builds.done + copies.done)

    def _sentence(self) -> str:
        parts = []
        builds, copies = self._total(Activity.BUILDS), self._total(Activity.COPY_PATHS)
        if builds.expected:
            parts.append(f"{builds.done} of {builds.expected} built")
        if copies.expected:
            parts.append(f"{copies.done} of {copies.expected} copied")
        content = self._total(Activity.COPY_PATH)
        size = max(self._expected_bytes.get(Activity.COPY_PATH, 0), content.expected)
        if size:
            parts.append(f"{content.done / 2**20:.1f} of {size / 2**20:.1f} MiB")
        if self._builds:
            build = next(reversed(self._builds.values()))
            parts.append(f"{build.name} ({build.phase})" if build.phase else build.name)
        return f"{self._what}: {', '.join(parts)}" if parts else self._what


def _name(derivation: str) -> str:
    """`hello-2.12` of `/nix/store/…-hello-2.12.drv`."""
    base = derivation.rpartition("/")[2].removesuffix(".drv")
    return base.partition("-")[2] or base
