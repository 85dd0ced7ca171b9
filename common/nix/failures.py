"""What a failure of Nix means: the cause and the place, not the whole trace."""

from __future__ import annotations

import re
import signal
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
_FULL = re.compile(r"(?i)no space left on device|disk quota exceeded|database or disk is full")
_BUSY = re.compile(r"(?i)database .*is (?:busy|locked)")
_ADVICE = re.compile(r"\s*\(use '--show-trace' to show detailed location information\)")
_REFUSED = re.compile(
    r"has an unfree license|is marked as (?:broken|insecure)|is not available on the requested hostPlatform"
)
# At the beginning of a line: logs of builds have errors, too.
_ERROR = re.compile(r"(?m)^\s*error:")
_LOG = re.compile(r"(?m)^\s+> ?(.*)$")
_SILENT = "Nix failed without a word"
# "builder for 'X' failed with exit code 1"; since 2.30 "Cannot build 'X'. Reason: builder failed with exit code 1.",
# and the same of those above it, whose reason is another derivation.
_BUILD = re.compile(
    r"(?:[Bb]uilder for|Cannot build) '([^']+)'\.?\s+(?:Reason: builder )?"
    r"(?:failed with (exit code \d+)|failed due to (signal \d+(?: \([^)]*\))?)|(died abnormally)"
    r"|failed to (produce output path for output '[^']*'))"
)
_BUILD_TIME = re.compile(r"'([^']+\.drv)[^']*'.{0,40}timed out after (\d+) seconds( of silence)?", re.DOTALL)
_DAEMON = re.compile(r"(?i)cannot (?:connect to socket at|open connection to remote store)")
_GIT = re.compile(r"fatal: (.+)")
# Git tells on lines of its own; Nix only that git failed.
_NO_REPOSITORY = re.compile(
    r"fatal: (?:repository )?'([^'\n]+)' (?:does not appear to be a git repository|does not exist|not found)"
)
_NO_FILE = re.compile(
    r"(?i)(?:getting status of|opening file|path) '[^']*/[0-9a-z]{32}-source/([^']+)'"
    r"(?:: no such file or directory| does not exist)"
)
_FUTURE_LOCK = re.compile(r"lock file '[^']*' has unsupported version (\d+)")


def explained(stderr: str) -> ControlError:
    """As `told`, from what Nix writes for people."""
    text = plain(stderr)
    message = _ADVICE.sub("", _ERROR.split(text)[-1]).strip() or _SILENT
    place = _PLACE.search(message)
    head = message.split("\n\n")[0]
    # A build that failed is not the last error: what depends on it is.
    builds = [Message(0, found[0]) for pattern in (_BUILD, _BUILD_TIME) for found in pattern.finditer(text)]
    last = Message(0, head, *(_split(place[1]) if place else ("", 0)))
    return told([*builds[:1], last], text, lambda _: _LOG.findall(text))


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
        if limit := _BUILD_TIME.search(message.text):
            return _endless_build(limit, build_log(limit[1]))
    text = "\n".join(message.text for message in errors)
    head = redacted(" ".join(_ADVICE.sub("", last.text).strip().split("\n\n")[0].split()))[:600]
    where = f" (at {_SOURCE.sub('', last.file)}:{last.line})" if last.file and last.line else ""
    every = f"{text}\n{whole}"
    git = _GIT.search(every) if "program 'git' failed" in head else None
    if git is not None:
        head = redacted(git[1])[:600]
    if "hash mismatch" in every:
        return _hash_mismatch(every)
    if _FULL.search(every):
        return HostUnavailable(
            f"no room: {head}", retry_after=60.0, next_step="make room in the Nix store: ncc package gc"
        )
    if _DAEMON.search(every):
        return HostUnavailable(
            f"the Nix daemon does not answer: {head}",
            retry_after=10.0,
            next_step="systemctl status nix-daemon",
        )
    if gone := _NO_REPOSITORY.search(every):
        return NotFound(f"{redacted(gone[1])} is no git repository", next_step="look at the address")
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
    if gone := _NO_FILE.search(head):
        return _no_file(gone[1])
    if future := _FUTURE_LOCK.search(head):
        return WrongState(
            f"flake.lock has version {future[1]}, which this Nix does not know",
            next_step="a newer Nix wrote it: update Nix, or lock the flake with this one",
        )
    if last.file or "stack overflow" in head:
        return InvalidRequest(
            f"evaluation failed: {head}{where}", next_step="correct it there, then try again"
        )
    if _GONE.search(head):
        return NotFound(head, next_step="look at the address and the revision")
    if "would have been updated" in head or "cannot update unlocked" in head:
        return Conflict(head, next_step="lock the flake first: nix flake lock")
    if git is not None:
        return HostUnavailable(
            f"git: {head}", retry_after=60.0, next_step="look at the network, then run it again"
        )
    return WrongState(head)


def redacted(text: str) -> str:
    """Without the user and password of URLs."""
    return _SECRET_URL.sub(r"\1", text)


def ended_by(number: int) -> ControlError:
    """Nix itself was ended by a signal."""
    return HostUnavailable(
        f"Nix was ended by {signal.Signals(number).name}",
        retry_after=30.0,
        next_step="look whether there was too little memory: dmesg",
    )


def _failed_build(build: re.Match[str], log: Sequence[str]) -> ControlError:
    name = _package(build[1])
    how = build[2] or build[3] or build[4] or f"it did not {build[5]}"
    return WrongState(
        f"{name} could not be built: {how}{_tail(name, log)}", next_step=f"the whole log: nix log {build[1]}"
    )


def _endless_build(limit: re.Match[str], log: Sequence[str]) -> ControlError:
    name = _package(limit[1])
    how = "said nothing" if limit[3] else "was not done"
    return WrongState(
        f"{name} could not be built: it {how} for {limit[2]} seconds{_tail(name, log)}",
        next_step="give builds longer (timeout and max-silent-time in nix.conf), or look why it hangs",
    )


def _package(derivation: str) -> str:
    return derivation.rpartition("/")[2].partition("-")[2].removesuffix(".drv")


def _tail(name: str, log: Sequence[str]) -> str:
    return redacted("".join(f"\n  {name}> {line[:500]}" for line in log[-10:]))


def _no_file(file: str) -> ControlError:
    if file == "flake.nix":
        return NotFound("there is no flake.nix", next_step="look at the address, or make one: nix flake init")
    return InvalidRequest(
        f"evaluation failed: the flake has no file {file}",
        next_step=f"correct its name; in a git repository Nix sees only what git knows: git add {file}",
    )


def _hash_mismatch(text: str) -> ControlError:
    found = re.search(r"(?:specified|expected)[ :]+'?([^\s',]+).*?got[ :]+'?([^\s',]+)", text, re.DOTALL)
    hashes = f": {found[1]} was expected, {found[2]} came" if found else ""
    return WrongState(
        f"what was fetched is not what was declared{hashes}",
        next_step="somebody changed the source: correct its hash, or update the flake that declares it",
    )


def _split(place: str) -> tuple[str, int]:
    file, _, line = place.rpartition(":")
    return file, int(line)
