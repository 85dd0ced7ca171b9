"""Starts programs: the one place that does. Arguments are lists; secrets are masked in whatever is told."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from common.errors import Cancelled, CommandFailed, HostUnavailable, Unsupported, WrongState

log = structlog.get_logger()

MASK = "********"
# Seconds that a program has to end by itself, and to clean up, before it is killed.
_GRACE = 2.0
# Bytes of a line without an end that are kept: what follows begins a new one.
_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Completed:
    """A program that has ended."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are replaced."""
        return self.stdout.decode(errors="replace")


def run(
    argv: Sequence[str],
    *,
    input: bytes | None = None,
    timeout: float = 30,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    cwd: Path | None = None,
    secrets: Sequence[str] = (),
) -> Completed:
    """Runs a program to its end, blocking; `timeout` in seconds ends it and all that it began.

    `env` is added to a C.UTF-8 environment. `secrets` are masked in logs and errors (pass them to the program by
    `input` or `env`, never by argv).
    Raises Unsupported (no such program), HostUnavailable (timed out), CommandFailed (non-zero, with `check`).
    """
    masked = [mask(arg, secrets) for arg in argv]
    stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
    process = _started(argv, masked, env, cwd, stdin)
    with process:
        try:
            stdout, stderr = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            _end_group(process)
            raise HostUnavailable(f"{' '.join(masked)} did not end within {timeout:g} s") from None
        except BaseException:
            _end_group(process)
            raise
    log.debug("program ended", argv=masked, exit_code=process.returncode)
    if check and process.returncode != 0:
        raise CommandFailed(masked, process.returncode, mask(stderr.decode(errors="replace"), secrets))
    return Completed(tuple(argv), process.returncode, stdout, stderr)


def stream(
    argv: Sequence[str],
    *,
    on_line: Callable[[str], None],
    on_output: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
    timeout: float = 3_600,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    cwd: Path | None = None,
    secrets: Sequence[str] = (),
) -> Completed:
    """As `run`, for long programs: `on_line` gets each line of standard error (masked, no newline) as it comes.

    `on_output` gets those of standard output likewise, however long, and unmasked, since they are data; none of them
    is kept then. Of standard error the last 64 KiB are kept; a line past 1 MiB comes in parts. `cancel` set from
    another thread asks the program within 0.1 s to end, kills what is left of it after 2 s, and raises Cancelled.
    """
    masked = [mask(arg, secrets) for arg in argv]
    process = _started(argv, masked, env, cwd, subprocess.DEVNULL)
    deadline = time.monotonic() + timeout
    stdout, tail = bytearray(), bytearray()
    messages, output = _Lines(_LINE), _Lines(sys.maxsize)
    with process, selectors.DefaultSelector() as selector:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                if cancel is not None and cancel.is_set():
                    raise Cancelled(f"{argv[0]} was cancelled")
                if time.monotonic() > deadline:
                    raise HostUnavailable(f"{' '.join(masked)} did not end within {timeout:g} s")
                for key, _ in selector.select(0.1):
                    data = os.read(key.fd, 65_536)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is process.stderr:
                        tail += data
                        del tail[:-65_536]
                        for line in messages.add(data):
                            on_line(mask(line, secrets))
                    elif on_output is None:
                        stdout += data
                    else:
                        for line in output.add(data):
                            on_output(line)
            for line in messages.rest():
                on_line(mask(line, secrets))
            if on_output is not None:
                for line in output.rest():
                    on_output(line)
            process.wait(max(1.0, deadline - time.monotonic()))
        except BaseException:
            _end_group(process)
            raise
    log.debug("program ended", argv=masked, exit_code=process.returncode)
    if check and process.returncode != 0:
        raise CommandFailed(masked, process.returncode, mask(bytes(tail).decode(errors="replace"), secrets))
    return Completed(tuple(argv), process.returncode, bytes(stdout), bytes(tail))


class _Lines:
    """Puts lines together; those past `longest` bytes come in parts."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._partial = bytearray()

    def add(self, data: bytes) -> Iterator[str]:
        """The lines that end in it."""
        self._partial += data
        if b"\n" not in data and len(self._partial) <= self._longest:
            return
        *lines, self._partial = self._partial.split(b"\n")
        if len(self._partial) > self._longest:
            lines.append(self._partial)
            self._partial = bytearray()
        for line in lines:
            yield line.decode(errors="replace")

    def rest(self) -> Iterator[str]:
        """What has no end."""
        if self._partial:
            yield self._partial.decode(errors="replace")


def detach(argv: Sequence[str], *, log_file: Path, env: Mapping[str, str] | None = None) -> int:
    """Starts a program that outlives this one, in a session of its own; its output goes to the file. Gives its pid.

    Not waited for: it is reaped by whoever adopts it, and by `os.waitpid` of this process meanwhile.
    """
    with log_file.open("ab") as output:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            cwd="/",
            start_new_session=True,
        )
    # Reaps it when it ends before us, so that no zombie stays.
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()
    return process.pid


def mask(text: str, secrets: Sequence[str]) -> str:
    """The text with every secret replaced."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return text


def _started(
    argv: Sequence[str], masked: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, stdin: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise WrongState(f"{cwd} is no folder") from error
        raise Unsupported(f"{masked[0]} is not installed", next_step=f"install {masked[0]}") from error
    except PermissionError as error:
        raise Unsupported(f"{masked[0]} may not be run: {error.strerror}") from error


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Asks its group to end, as Nix needs to end builds and to remove their folders; then all of it is killed.

    What a descendant began in a session of its own is no part of the group, and would go on.
    """
    sessions = _sessions(process.pid)
    _signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    for pid, (_, session) in _processes().items():
        if session in sessions:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        pass


def _sessions(pid: int) -> set[int]:
    """The sessions of a process and of all its descendants, but ours."""
    processes = _processes()
    family, found = {pid}, {pid}
    while found:
        found = {child for child, (parent, _) in processes.items() if parent in found} - family
        family |= found
    return {processes[one][1] for one in family if one in processes} - {os.getsid(0)}


def _processes() -> dict[int, tuple[int, int]]:
    """All that run: pid -> (parent, session)."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            found[int(name)] = (int(fields[1]), int(fields[3]))
    return found
