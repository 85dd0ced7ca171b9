"""Runs Nix. Only drivers and this package call it; arguments are lists, and values are passed as data."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import process
from common.errors import CommandFailed, ControlError, Unsupported, WrongState
from common.nix.failures import ended_by, explained, told
from common.nix.meter import ProgressMeter
from common.process import Completed
from nixcc.resource.v1.resource_pb2 import Progress

_FEATURES = ("--extra-experimental-features", "nix-command flakes")
# Seconds that evaluating and building may take.
EVALUATION, BUILD = 300.0, 6 * 3_600.0

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Nix:
    """`environment` is added to the daemon's own."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> tuple[int, ...]:
        """Such as (2, 8, 0). Raises Unsupported: there is no Nix."""
        text = process.run(["nix", "--version"], env=self.environment).text
        found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
        if found is None:
            raise Unsupported(f"`nix --version` says {text.strip()!r}")
        return tuple(int(part or 0) for part in found.groups())

    def run(
        self,
        arguments: Sequence[str],
        *,
        timeout: float = EVALUATION,
        cwd: Path | None = None,
        cancel: threading.Event | None = None,
    ) -> Completed:
        """`nix …`, or `nix-store …` and the like where the first argument begins so; to its end, or to `cancel`.

        Raises what common.nix.failures tells: NotFound, InvalidRequest (evaluation), WrongState, HostUnavailable.
        """
        try:
            argv, env = _argv(arguments), self.environment
            if cancel is None:
                return process.run(argv, timeout=timeout, env=env, cwd=cwd)
            return process.stream(
                argv, on_line=lambda _: None, cancel=cancel, timeout=timeout, env=env, cwd=cwd
            )
        except CommandFailed as error:
            raise (ended_by(-error.exit_code) if error.exit_code < 0 else explained(error.stderr)) from error

    def json(
        self,
        arguments: Sequence[str],
        *,
        timeout: float = EVALUATION,
        cancel: threading.Event | None = None,
    ) -> Any:
        """What it prints, as JSON."""
        done = self.run(arguments, timeout=timeout, cancel=cancel)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise WrongState(f"nix {arguments[0]} printed no JSON: {error}") from error

    def long(
        self,
        what: str,
        arguments: Sequence[str],
        report: Report,
        cancel: threading.Event,
        *,
        timeout: float = BUILD,
        cwd: Path | None = None,
    ) -> Completed:
        """As `run`, with progress: builds and copies are counted, logs told as they come. `cancel` ends it.

        `what` begins each progress message: `building web`.
        """
        meter = ProgressMeter(what)

        def on_line(line: str) -> None:
            progress = meter.feed(line)
            if progress is not None:
                report(progress)

        argv = [*_argv(arguments), "--log-format", "internal-json", "-v"]
        done = process.stream(
            argv, on_line=on_line, cancel=cancel, timeout=timeout, env=self.environment, check=False, cwd=cwd
        )
        if done.exit_code != 0:
            raise _failure(done, meter)
        return done

    def build(
        self,
        what: str,
        installable: str,
        report: Report,
        cancel: threading.Event,
        *,
        out_link: Path | None = None,
        arguments: Sequence[str] = (),
        timeout: float = BUILD,
    ) -> str:
        """Builds one installable; gives its output `out` (its first one where it has no `out`)."""
        link = ["--no-link"] if out_link is None else ["--out-link", str(out_link)]
        argv = ["build", installable, "--json", "--no-write-lock-file", *link, *arguments]
        done = self.long(what, argv, report, cancel, timeout=timeout)
        try:
            outputs: dict[str, str] = json.loads(done.stdout)[0]["outputs"]
            return outputs.get("out") or next(iter(outputs.values()))
        except (ValueError, LookupError, TypeError, StopIteration) as error:
            raise WrongState(f"nix build did not say what it built: {error}") from error


def _failure(done: Completed, meter: ProgressMeter) -> ControlError:
    """What a command that failed says: events, and lines of the programs that it called."""
    if done.exit_code < 0:
        return ended_by(-done.exit_code)
    stderr = done.stderr.decode(errors="replace")
    if not meter.errors:
        return explained(stderr)
    others = [line for line in stderr.splitlines() if line.startswith(("fatal:", "ssh:"))]
    return told(meter.errors, "\n".join(others), meter.failed_build)


def _argv(arguments: Sequence[str]) -> list[str]:
    if arguments[0].startswith("nix-"):
        return list(arguments)
    return ["nix", *_FEATURES, *arguments]
