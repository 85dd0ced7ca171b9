"""Calls of Nix, and what its failures mean for packages."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import (
    CommandFailed,
    ControlError,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    WrongState,
)
from common.process import Completed, run, stream
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers.base import Tell

_FEATURES = ("--extra-experimental-features", "nix-command flakes")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_WHERE = re.compile(r"at (\S+?:\d+(?::\d+)?):?")
# Seconds that evaluating and building may take.
EVALUATION, BUILD = 300.0, 6 * 3_600.0


def nix(
    arguments: Sequence[str], *, timeout: float = EVALUATION, env: Mapping[str, str] | None = None
) -> Completed:
    """`nix …` (or `nix-store …`, where the first argument begins so), to its end."""
    try:
        return run(_argv(arguments), timeout=timeout, env=env)
    except CommandFailed as error:
        raise explained(error) from error


def nix_json(arguments: Sequence[str], *, timeout: float = EVALUATION) -> Any:
    """What it prints, as JSON."""
    done = nix(arguments, timeout=timeout)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise ControlError(f"{arguments[0]} {arguments[1]} printed no JSON: {error}") from error


def nix_long(
    arguments: Sequence[str],
    *,
    tell: Tell,
    cancel: threading.Event,
    timeout: float = BUILD,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """As `nix`, for what takes long: its messages are told as they come, and it can be cancelled."""

    def line(text: str) -> None:
        text = _ANSI.sub("", text).strip()
        if text:
            tell(Progress(message=text[:200], log_line=text[:2000]))

    try:
        return stream(_argv(arguments), on_line=line, cancel=cancel, timeout=timeout, env=env)
    except CommandFailed as error:
        raise explained(error) from error


def _argv(arguments: Sequence[str]) -> list[str]:
    if arguments[0].startswith("nix-"):
        return list(arguments)
    return ["nix", *_FEATURES, *arguments]


def explained(error: CommandFailed) -> ControlError:
    """The error that its message stands for; the command's own where it is none of the known."""
    text = _ANSI.sub("", error.stderr)
    # The last message is the cause; what is before are builds and warnings.
    cause = text.rpartition("error: ")[2].strip() or text.strip()
    head = " ".join(cause.split("\n\n")[0].split())
    for pattern, make in _KNOWN:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return make(match, head, text)
    where = _WHERE.search(cause)
    if where:
        place = f" at {where[1]}"
        return InvalidRequest(f"evaluation failed{place}: {head.partition(' at /')[0]}")
    return error


def _collision(match: re.Match[str], head: str, text: str) -> ControlError:
    return WrongState(
        f"{match[1]} and {match[2]} are the same file of two packages with equal priority ({match[3]})",
        next_step="give one of them another priority (spec.priority: the lower number wins)",
    )


def _hash_mismatch(match: re.Match[str], head: str, text: str) -> ControlError:
    found = re.search(r"specified:\s*(\S+).*?got:\s*(\S+)", text, re.DOTALL)
    hashes = f": {found[1]} was expected, {found[2]} came" if found else ""
    return WrongState(
        f"what was fetched is not what was declared{hashes}",
        next_step="somebody changed the source: correct its hash, or update the flake that declares it",
    )


def _build_failed(match: re.Match[str], head: str, text: str) -> ControlError:
    said = " ⏎ ".join(line.strip(" >") for line in match[3].splitlines() if line.strip().startswith(">"))
    return WrongState(
        f"building {match[1]} failed with {match[2].strip()}" + (f"; it said: {said[-500:]}" if said else ""),
        next_step=f"nix log {match[1]} shows all it said",
    )


def _offline(match: re.Match[str], head: str, text: str) -> ControlError:
    return HostUnavailable(
        f"the network does not answer: {head[:300]}",
        retry_after=30.0,
        next_step="what is in the store already can be used meanwhile",
    )


_KNOWN = (
    (
        r"(?:packages|files) '([^']+)' and '([^']+)' have the same priority (\d+)",
        _collision,
    ),
    (
        # Since 2.15: "An existing package already provides the following file: … This is the conflicting file …"
        r"already provides the following file:\s+(\S+).*?conflicting file[^:]*:\s+(\S+).*?priority[^\d]*(\d+)",
        _collision,
    ),
    (r"hash mismatch in", _hash_mismatch),
    (
        r"does not provide attribute",
        lambda _, head, text: NotFound(head, next_step="ncc package search finds what it is called"),
    ),
    (
        r"(?:has an unfree license|is marked as (?:broken|insecure)|is not available on the requested hostPlatform)",
        lambda _, head, text: WrongState(
            head[:500],
            next_step="allow it in the flake's own nixpkgs configuration, or choose another package",
        ),
    ),
    (
        r"(?i)could ?n[o']t (resolve|connect)|could not resolve host|unable to download|failed to connect",
        _offline,
    ),
    (
        r"No space left on device|database or disk is full",
        lambda _, head, text: WrongState("the disk is full", next_step="ncc package gc frees space"),
    ),
    (
        r"is not a valid URL|cannot find flake|getting status of|is not a flake|does not (exist|contain a 'flake)",
        lambda _, head, text: NotFound(head[:500], next_step="correct spec.flake"),
    ),
    (r"builder for '([^']+)' failed with ([^;]*);?(.*)", _build_failed),
)
