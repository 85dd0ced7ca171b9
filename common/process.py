"""Starts programs: the one place that does. Arguments are lists; secrets are masked in whatever is told."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from common.errors import CommandFailed, HostUnavailable, Unsupported

log = structlog.get_logger()

MASK = "********"


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
    """Runs a program to its end, blocking; `timeout` in seconds ends its whole process group.

    `env` is added to a C.UTF-8 environment. `secrets` are masked in logs and errors (pass them to the program by
    `input` or `env`, never by argv).
    Raises Unsupported (no such program), HostUnavailable (timed out), CommandFailed (non-zero, with `check`).
    """
    masked = [mask(arg, secrets) for arg in argv]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Unsupported(f"{argv[0]} is not installed", next_step=f"install {argv[0]}") from error
    except PermissionError as error:
        raise Unsupported(f"{argv[0]} may not be run: {error.strerror}") from error
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


def mask(text: str, secrets: Sequence[str]) -> str:
    """The text with every secret replaced."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return text


def _end_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
