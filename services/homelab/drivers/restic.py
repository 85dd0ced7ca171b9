"""restic: one method a command. Passwords and addresses reach it by private files, never by its arguments.

Its output and its messages are JSON or text, a line each: which of them where, depends on its version.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import process
from common.errors import Cancelled, NotFound, Unsupported, WrongState
from services.homelab.drivers.restic_errors import Locked, translated
from services.homelab.drivers.restic_repository import Repository

Report = Callable[[str, int | None], None]
OnNode = Callable[[Mapping[str, Any]], None]

# Exit code of a backup that was made although some files could not be read.
_INCOMPLETE = 3
# What is more than itself in a pattern.
_PATTERN = re.compile(r"([\\*?\[])")
# Where in its program an error came from, which it tells of some.
_TRACE = re.compile(r"\S+\.go:\d+|(github\.com|golang\.org)/\S+|(main|runtime)\.\S+")
# Seconds that a restic whose daemon died has to end by itself.
_GRACE = 5.0
# Lines of what it complained about that are kept.
_COMPLAINTS = 50
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One backup in the repository; times as restic tells them (RFC 3339)."""

    id: str
    time: str
    host: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made. `skipped`: what could not be read; empty: all of it is in there."""

    snapshot: str
    files: int
    total_bytes: int
    added_bytes: int
    skipped: tuple[str, ...] = ()


@dataclass(slots=True)
class _Output:
    """What a command wrote. Its messages are read as they are: a password may be a word that they are made of."""

    on_message: Callable[[Mapping[str, Any]], None]
    # What it said for people: not to be told before it is masked.
    complaints: list[str] = field(default_factory=list)

    def line(self, text: str) -> None:
        """Takes one line."""
        if text.startswith(("{", "[")):
            try:
                value = json.loads(text)
            except ValueError:
                pass
            else:
                for message in value if isinstance(value, list) else [value]:
                    self._message(message)
                return
        self._complain(text)

    def _message(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        kind = message.get("message_type")
        # From 0.17 on, errors for people are JSON, too.
        if kind in ("error", "exit_error"):
            self._complain(told(message))
        if kind != "exit_error":
            self.on_message(message)

    def _complain(self, text: str) -> None:
        if text.strip() and not _TRACE.fullmatch(text.strip()):
            self.complaints.append(text.strip())
            del self.complaints[:-_COMPLAINTS]


class Restic:
    """restic, with a private folder for what it keeps (cache, files with addresses)."""

    def __init__(self, work: Path, program: str = "restic") -> None:
        self._work, self._program = work, program

    def unsupported(self) -> str:
        """Why it can't be used here; empty: it can."""
        return "" if shutil.which(self._program) else "restic is not installed: install restic"

    def init(self, repository: Repository) -> bool:
        """Makes the repository where there is none; False: there is one. Never over anything else."""
        repository.require_room()
        try:
            self._call(repository, ("cat", "config"), locks=False)
        except NotFound:
            self._call(repository, ("init",), locks=False)
            return True
        return False

    def open(self, repository: Repository) -> None:
        """Looks whether it can be used. NotFound, Forbidden (password), HostUnavailable."""
        self._call(repository, ("cat", "config"), locks=False)

    def backup(
        self,
        repository: Repository,
        paths: Sequence[str],
        *,
        tags: Sequence[str],
        host: str = "",
        report: Report,
        excludes: Sequence[str] = (),
        cancel: threading.Event | None = None,
        timeout: float = _DAY,
    ) -> Made:
        """Backs files up. WrongState where a source is gone or the target is full; `report`'s percent only grows."""
        missing = [path for path in paths if not os.path.lexists(path)]
        if missing:
            raise WrongState(
                f"{', '.join(missing)} can't be backed up: not there", next_step="mount it, or leave it out"
            )
        arguments = ["backup", "--host", host or socket.gethostname()]
        for tag in tags:
            arguments += ["--tag", tag]
        for pattern in excludes:
            arguments += ["--exclude", pattern]
        summary: dict[str, Any] = {}
        # By what it is: it may be met while counting, and again while reading.
        skipped: dict[str, str] = {}
        reached = 0

        def message(value: Mapping[str, Any]) -> None:
            nonlocal reached
            match value.get("message_type"):
                case "status":
                    reached = max(reached, min(99, int(100 * float(value.get("percent_done", 0)))))
                    report(f"{value.get('files_done', 0)} of {value.get('total_files', 0)} files", reached)
                case "summary":
                    summary.update(value)
                case "error":
                    skipped[str(value.get("item", len(skipped)))] = told(value)

        code = self._call(
            repository,
            [*arguments, "--", *paths],
            on_message=message,
            cancel=cancel,
            timeout=timeout,
            accepted=(0, _INCOMPLETE),
        )
        if code == _INCOMPLETE and not skipped:
            skipped[""] = "restic did not tell which"
        if not summary.get("snapshot_id"):
            raise WrongState("restic told of no snapshot", next_step="run it again; see the log")
        report("backed up", 100)
        return Made(
            str(summary["snapshot_id"]),
            int(summary.get("total_files_processed", 0)),
            int(summary.get("total_bytes_processed", 0)),
            int(summary.get("data_added", 0)),
            tuple(skipped.values()),
        )

    def snapshots(self, repository: Repository, tags: Sequence[str] = ()) -> list[Snapshot]:
        """Those with all of the tags, oldest first."""
        found: list[Mapping[str, Any]] = []
        arguments = ["snapshots"] + (["--tag", ",".join(tags)] if tags else [])
        self._call(repository, arguments, on_message=found.append)
        return [
            Snapshot(
                one["id"],
                one["time"],
                one.get("hostname", ""),
                tuple(one.get("paths") or ()),
                tuple(one.get("tags") or ()),
            )
            for one in sorted(found, key=lambda one: str(one["time"]))
        ]

    def browse(self, repository: Repository, snapshot: str, folder: str, on_node: OnNode) -> None:
        """Tells of what lies in a folder of a snapshot, as restic's JSON: name, type, path, size, mtime.

        Of a file it tells the file. NotFound where there is no such folder.
        """
        where = "/" + os.path.normpath(folder or "/").lstrip("/")
        there = where == "/"

        def message(value: Mapping[str, Any]) -> None:
            nonlocal there
            if value.get("struct_type") == "node":
                there = True
                if value.get("path") != where or value.get("type") != "dir":
                    on_node(value)

        self._call(repository, ("ls", "--", snapshot, where), on_message=message)
        if not there:
            raise NotFound(
                f"{where} is not in the snapshot {snapshot[:8]}", next_step="browse it, from / on downwards"
            )

    def restore(
        self,
        repository: Repository,
        snapshot: str,
        target: Path,
        *,
        include: Sequence[str] = (),
        in_place: bool = False,
        cancel: threading.Event | None = None,
        timeout: float = _DAY,
    ) -> None:
        """Puts files into a new or empty folder; over what is there only with `in_place`. Its bytes are verified.

        NotFound where a path of `include` is not in the snapshot.
        """
        for path in include:
            self.browse(repository, snapshot, path, lambda _: None)
        if not in_place:
            if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
                raise WrongState(
                    f"{target} is not empty: nothing was restored",
                    next_step="choose a new folder, or ask to restore in place",
                )
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
        arguments = ["restore", "--verify", "--target", str(target)]
        for path in include:
            arguments += ["--include", _PATTERN.sub(r"\\\1", path)]
        self._call(repository, [*arguments, "--", snapshot], cancel=cancel, timeout=timeout)

    def check(
        self,
        repository: Repository,
        *,
        data_percent: int = 0,
        cancel: threading.Event | None = None,
        timeout: float = _DAY,
    ) -> None:
        """Checks the repository, and reads so much of its data. WrongState where it is damaged."""
        arguments = ["check"] + ([f"--read-data-subset={data_percent}%"] if data_percent else [])
        self._call(repository, arguments, cancel=cancel, timeout=timeout)

    def forget(
        self,
        repository: Repository,
        *,
        tags: Sequence[str],
        keep: Mapping[str, int],
        dry_run: bool = False,
        cancel: threading.Event | None = None,
    ) -> list[str]:
        """Lets go of what the tags' snapshots hold beyond `keep` (last, hourly, daily…); the ids that went, or would.

        Snapshots without all of the tags are never touched. Nothing to keep would be all to lose: refused.
        """
        if not tags or not all(tags) or not any(keep.values()):
            raise WrongState("no snapshot is let go of without a tag and something to keep")
        arguments = ["forget", "--dry-run" if dry_run else "--prune", "--group-by", "tags"]
        # All of them: with one option each, any of them would do.
        arguments += ["--tag", ",".join(tags)]
        for name, count in keep.items():
            if count:
                arguments += [f"--keep-{name}", str(count)]
        gone: list[str] = []

        def message(value: Mapping[str, Any]) -> None:
            gone.extend(one["id"] for one in value.get("remove") or ())

        self._call(repository, arguments, on_message=message, cancel=cancel)
        return gone

    def unlock(self, repository: Repository) -> None:
        """Removes locks of processes that are dead; those of living ones, and of other hosts' recent ones, stay."""
        self._call(repository, ("unlock",), locks=False)

    def end_left(self) -> None:
        """Ends what a daemon that was killed left running: it would hold the repository's lock. Ours may not run."""
        left = self._left()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + _GRACE
            # Until nobody waits to be reaped any more: restic takes such a one for alive.
            while any(os.path.exists(f"/proc/{pid}") for pid in left) and time.monotonic() < deadline:
                time.sleep(0.05)  # between looks
            left = self._left()

    def _left(self) -> list[int]:
        """Processes that use our cache."""
        found = []
        mark = os.fsencode(self._work / "cache")
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has ended meanwhile
            if words[1:4] == [b"--json", b"--cache-dir", mark]:
                found.append(int(name))
        return found

    def _call(
        self,
        repository: Repository,
        arguments: Sequence[str],
        *,
        on_message: Callable[[Mapping[str, Any]], None] = lambda _: None,
        cancel: threading.Event | None = None,
        timeout: float = 600.0,
        accepted: Sequence[int] = (0,),
        locks: bool = True,
    ) -> int:
        """Runs one command; its exit code. A lock that a dead process left is removed, and it runs once more."""
        try:
            return self._once(repository, arguments, on_message, cancel, timeout, accepted)
        except Locked:
            if not locks:
                raise
            self.unlock(repository)
            return self._once(repository, arguments, on_message, cancel, timeout, accepted)

    def _once(
        self,
        repository: Repository,
        arguments: Sequence[str],
        on_message: Callable[[Mapping[str, Any]], None],
        cancel: threading.Event | None,
        timeout: float,
        accepted: Sequence[int],
    ) -> int:
        if reason := self.unsupported():
            raise Unsupported(reason, next_step="install restic")
        with repository.environment(self._work) as (environment, secrets):
            output = _Output(on_message)
            argv = [self._program, "--json", "--cache-dir", str(self._work / "cache"), *arguments]
            try:
                ended = process.stream(
                    argv,
                    on_line=output.line,
                    on_output=output.line,
                    cancel=cancel,
                    timeout=timeout,
                    # Nobody is there whom ssh could ask.
                    env={**environment, "RESTIC_PROGRESS_FPS": "2", "SSH_ASKPASS_REQUIRE": "never"},
                    check=False,
                    cwd=Path("/"),
                )
            except Cancelled as error:
                raise Cancelled(f"restic {arguments[0]} was cancelled") from error
        if ended.exit_code not in accepted:
            said = "\n".join(output.complaints)
            masked = process.mask(said, secrets)
            raise translated(arguments[0], ended.exit_code, said, repository.shown, masked)
        return ended.exit_code


def told(message: Mapping[str, Any]) -> str:
    """What an error of restic's JSON says: where, and what.

    Before 0.17 it is what Go makes of the error: `{"Op": "open", "Path": "/a", "Err": 13}`, or nothing.
    """
    error = message.get("error")
    if not isinstance(error, dict):
        text = str(message.get("message") or error or "")
    elif isinstance(error.get("Err"), int):
        text = f"{error.get('Op', '')}: {os.strerror(error['Err'])}"
    else:
        text = str(error.get("message") or error.get("Err") or error.get("Op") or "can't be read")
    item = str(message.get("item") or "")
    return f"{item}: {text}" if item and item not in text else text
