"""The few Nix commands that updates need."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import (
    CommandFailed,
    ControlError,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    Unsupported,
    WrongState,
)
from common.process import run, stream
from services.updater.drivers.base import Report, Step
from services.updater.references import redacted

_FEATURES = ("--extra-experimental-features", "nix-command flakes")
# Since then `nix flake update` takes inputs, and `nix flake lock` no longer `--update-input`.
_UPDATE_TAKES_INPUTS = (2, 19)
_EVALUATION = 60.0
_FETCHING = 1_800.0

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_UNREACHABLE = re.compile(
    r"(?i)could not resolve host|couldn't resolve host|unable to download|timed out|connection refused"
    r"|network is unreachable|failed to connect|unable to access|could not read from remote|no route to host"
)
_GONE = re.compile(
    r"(?i)does not exist|not a git repository|no such file|http error 404|couldn't find remote ref"
    r"|not our ref|cannot find git revision|bad object|reference is not a tree|unadvertised object"
)


@dataclass(frozen=True)
class NixProgram:
    """Runs `nix`; `environment` is added to the daemon's own."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> tuple[int, ...]:
        """Such as (2, 8, 0). Unsupported: there is no Nix."""
        text = run(["nix", "--version"], env=self.environment).text
        found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
        if found is None:
            raise Unsupported(f"`nix --version` says {text.strip()!r}")
        return tuple(int(part or 0) for part in found.groups())

    def evaluate(self, file: Path, arguments: Mapping[str, str]) -> Any:
        """A file of ours, as JSON; arguments are strings and stay data."""
        argv = ["nix-instantiate", "--eval", "--json", "--strict", str(file)]
        for name, value in arguments.items():
            argv += ["--argstr", name, value]
        try:
            return json.loads(run(argv, env=self.environment, timeout=_EVALUATION).stdout)
        except CommandFailed as error:
            raise explained(error.stderr) from error
        except ValueError as error:
            raise WrongState(f"Nix gave no JSON: {error}") from error

    def lock(
        self,
        reference: str,
        updates: Sequence[str],
        overrides: Mapping[str, str],
        report: Report,
        cancel: threading.Event,
    ) -> None:
        """Writes the lock file of a flake that is our own copy."""
        argv = ["nix", *_FEATURES]
        if updates and self.version() >= _UPDATE_TAKES_INPUTS:
            argv += ["flake", "update", *updates, "--flake", reference]
        else:
            argv += ["flake", "lock", reference]
            for name in updates:
                argv += ["--update-input", name]
        for name, to in overrides.items():
            argv += ["--override-input", name, to]
        lines: list[str] = []

        def on_line(line: str) -> None:
            text = redacted(_ESCAPES.sub("", line)).rstrip()
            lines.append(text)
            if text and not text.startswith("warning: Git tree"):
                report(Step("locking", line=text))

        try:
            stream(argv, on_line=on_line, cancel=cancel, env=self.environment, timeout=_FETCHING)
        except CommandFailed as error:
            raise explained("\n".join(lines)) from error


def explained(stderr: str) -> ControlError:
    """Nix's error as one of ours: its message and the place, without the trace."""
    text = redacted(_ESCAPES.sub("", stderr))
    _, _, last = text.rpartition("error: ")
    message = " ".join((last or text).split("\n\n")[0].split())[:600] or "Nix failed without a word"
    if place := re.search(r"\bat (/\S+?):(\d+)(?::\d+)?:", last):
        message += f" ({place.group(1)}:{place.group(2)})"
    whole = f"{message} {text[-2000:]}"
    if (
        "does not match any" in message
        or "has no attribute" in message
        or "does not provide attribute" in message
    ):
        return NotFound(message)
    if _UNREACHABLE.search(whole):
        return HostUnavailable(message, retry_after=60.0, next_step="look at the network, then run it again")
    if _GONE.search(whole):
        return NotFound(message, next_step="look at the input's address and revision")
    if "No space left" in whole:
        return HostUnavailable(
            message, retry_after=60.0, next_step="make room in the Nix store: nix store gc"
        )
    if "syntax error" in message or "undefined variable" in message:
        return InvalidRequest(message)
    return WrongState(message)
