"""What a failure of Nix means: the cause and the place, not the whole trace."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from common.errors import Conflict, ControlError, HostUnavailable, InvalidRequest, NotFound, WrongState
from common.nix.events import Message, plain

_PLACE = re.compile(r"\bat (\S+?:\d+)(?::\d+)?:?")
_SOURCE = re.compile(r"/\S*/[0-9a-z]{32}-source/")
_SECRET_URL = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/@\s]+@")

_OFFLINE = re.compile(
    r"(?i)could ?n[o']t (?:resolve|connect)|unable to download|timed out|connection refused|network is unreachable"
    r"|failed to connect|unable to access|could not read from remote|no route to host"
)
_MISSING_ATTRIBUTE = re.compile(
    r"does not provide attribute|attribute '[^']*' (?:missing|not found)|has no attribute"
)
_GONE = re.compile(
    r"(?i)does not exist|not a git repository|no such file|http error 404|couldn't find remote ref|not our ref"
    r"|cannot find git revision|bad object|reference is not a tree|unadvertised object"
    r"|does not contain a 'flake\.nix'|could not find a flake\.nix"
)
_FULL = re.compile(r"(?i)no space left on device|disk quota exceeded")
_BUSY = re.compile(r"(?i)database .*is (?:busy|locked)")
_ADVICE = re.compile(r"\s*\(use '--show-trace' to show detailed location information\)")
_REFUSED = re.compile(
    r"has an unfree license|is marked as (?:broken|insecure)|is not available on the requested hostPlatform"
)
_SILENT = "Nix failed without a word"
_BUILD = re.compile(r"[Bb]uilder for '([^']+)' failed with (?:exit code (\d+)|signal (\d+))")


def explained(stderr: str) -> ControlError:
    """As `told`, from what Nix writes for people."""
    text = plain(stderr)
    _, found, last = text.rpartition("error:")
    message = _ADVICE.sub("", last if found else text).strip() or _SILENT
    place = _PLACE.search(message)
    head = message.split("\n\n")[0]
    return told([Message(0, head, *(_split(place[1]) if place else ("", 0)))], text)


def told(
    errors: Sequence[Message], whole: str = "", build_log: Callable[[str], list[str]] = lambda _: []
) -> ControlError:
    """The error that Nix's error messages stand for.

    `whole` is searched, too, but never told; `build_log` gives the last lines of a derivation's build.
    """
    last = next(
        (error for error in reversed(errors) if _ADVICE.sub("", error.text).strip()), Message(0, _SILENT)
    )
    for message in errors:
        if build := _BUILD.search(message.text):
            return _failed_build(build, build_log(build[1]))
    text = "\n".join(message.text for message in errors)
    head = redacted(" ".join(_ADVICE.sub("", last.text).strip().split("\n\n")[0].split()))[:600]
    where = f" (at {_SOURCE.sub('', last.file)}:{last.line})" if last.file and last.line else ""
    every = f"{text}\n{whole}"
    if "hash mismatch" in every:
        return _hash_mismatch(every)
    if _FULL.search(every):
        return HostUnavailable(
            f"no room: {head}", retry_after=60.0, next_step="make room in the Nix store: ncc package gc"
        )
    if _OFFLINE.search(every):
        return HostUnavailable(
            f"the network does not answer: {head}",
            retry_after=30.0,
            next_step="what is in the store already can be used meanwhile",
        )
    if _BUSY.search(every):
        return HostUnavailable(f"the Nix store is busy: {head}", retry_after=5.0)
    if _REFUSED.search(every):
        return WrongState(
            head, next_step="allow it in the flake's own nixpkgs configuration, or choose another"
        )
    if _MISSING_ATTRIBUTE.search(head):
        return NotFound(f"{head}{where}", next_step="look at what the flake provides: nix flake show")
    if last.file:
        return InvalidRequest(
            f"evaluation failed: {head}{where}", next_step="correct it there, then try again"
        )
    if _GONE.search(head):
        return NotFound(head, next_step="look at the address and the revision")
    if "would have been updated" in head or "cannot update unlocked" in head:
        return Conflict(head, next_step="lock the flake first: nix flake lock")
    return WrongState(head)


def redacted(text: str) -> str:
    """Without the user and password of URLs."""
    return _SECRET_URL.sub(r"\1", text)


def _failed_build(build: re.Match[str], log: Sequence[str]) -> ControlError:
    name = build[1].rpartition("/")[2].partition("-")[2].removesuffix(".drv")
    how = f"exit code {build[2]}" if build[2] else f"signal {build[3]}"
    tail = "".join(f"\n  {name}> {line}" for line in log[-10:])
    return WrongState(
        f"{name} could not be built: {how}{redacted(tail)}", next_step=f"the whole log: nix log {build[1]}"
    )


def _hash_mismatch(text: str) -> ControlError:
    found = re.search(r"specified:\s*(\S+).*?got:\s*(\S+)", text, re.DOTALL)
    hashes = f": {found[1]} was expected, {found[2]} came" if found else ""
    return WrongState(
        f"what was fetched is not what was declared{hashes}",
        next_step="somebody changed the source: correct its hash, or update the flake that declares it",
    )


def _split(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return file, int(line)
