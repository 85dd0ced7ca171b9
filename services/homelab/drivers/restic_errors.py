"""What restic's messages mean. Up to 0.16 it exits with 1 for nearly everything: the text has to tell."""

from __future__ import annotations

import re

from common.errors import (
    CommandFailed,
    ControlError,
    Forbidden,
    HostUnavailable,
    NotFound,
    Unsupported,
    WrongState,
)

# Exit codes since 0.17 (restic's documentation, "Scripting").
_NO_REPOSITORY, _NOT_LOCKED, _WRONG_PASSWORD = 10, 11, 12


class Locked(WrongState):
    """Another process holds the repository, or one that died did."""


_ABSENT = re.compile(
    r"unable to open config file: .*(no such file or directory|does not exist|not found|404)",
    re.IGNORECASE | re.DOTALL,
)
_UNREACHABLE = re.compile(
    r"connection refused|no such host|i/o timeout|dial tcp|network is unreachable|no route to host"
    r"|connection reset|transport endpoint|unable to start the sftp session|ssh command exited|connection lost",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"\b40[13]\b.*(unauthorized|forbidden)|access ?denied", re.IGNORECASE)
_SYSTEM = re.compile(r"permission denied|read-only file system|operation not permitted", re.IGNORECASE)
# Followed by the address, at the end of a message.
_HINT = "Is there a repository at the following location?"
_DAMAGED = re.compile(
    r"repository contains errors|pack .* (is damaged|does not match|does not exist)|ciphertext verification"
    r"|loadindex returned errors|hash (mismatch|does not match)|invalid data returned|data seems to be missing"
    r"|not found in (index|repository)|config cannot be loaded|unexpected end of json",
    re.IGNORECASE,
)
_MISSING_PROGRAM = re.compile(r'exec: "?([^":]+)"?: executable file not found')


def translated(command: str, exit_code: int, text: str, repository: str, shown: str = "") -> ControlError:
    """The error behind a failed command.

    `shown` is `text` with secrets masked (empty: it has none), and so is `repository`: a password may be a word that
    restic's messages are made of, so they are read unmasked and told masked.
    """
    shown = shown or text
    low = text.lower()
    if exit_code == _WRONG_PASSWORD or "wrong password or no key found" in low:
        return Forbidden(
            f"the password does not open {repository}", next_step="correct what password_file holds"
        )
    if exit_code == _NOT_LOCKED or "already locked" in low:
        held = next((line for line in shown.splitlines() if "locked" in line.lower()), "")
        return Locked(
            f"{repository} is locked: {held}".rstrip(": "),
            next_step=(
                "wait until the other run has ended; locks of dead processes of this host are removed by ncc, those "
                "of another host once they are half an hour old, or by `restic unlock`"
            ),
        )
    if "no space left on device" in low or "disk quota exceeded" in low:
        return WrongState(
            f"there is no room left for {repository}; what was there before is untouched",
            next_step="make room, or keep less",
        )
    if program := _MISSING_PROGRAM.search(text):
        return Unsupported(
            f"{repository} needs {program[1]}, which is not installed", next_step=f"install {program[1]}"
        )
    if exit_code == _NO_REPOSITORY or _ABSENT.search(text):
        return NotFound(
            f"there is no repository at {repository}",
            next_step="mount or restore what held it; a new one is only made at a job's first run",
        )
    if "host key verification failed" in low:
        return Forbidden(
            f"{repository}: its host's key is not known here",
            next_step="compare the key, and add it to root's known_hosts (ssh-keyscan tells it)",
        )
    if "permission denied (" in low:  # ssh tells what it tried
        return Forbidden(
            f"{repository}: {_cause(shown)}", next_step="let root log in there by a key without a passphrase"
        )
    if _REFUSED.search(text):
        return Forbidden(
            f"{repository}: {_cause(shown)}",
            next_step="correct the name and password in its address, or environment_file",
        )
    if _UNREACHABLE.search(text):
        return HostUnavailable(f"{repository} does not answer: {_cause(shown)}", retry_after=60)
    if _SYSTEM.search(text):
        return Forbidden(f"{repository}: {_cause(shown)}", next_step="look at the permissions")
    if "no matching id found" in low or "no snapshot found" in low or "not found for snapshot" in low:
        return NotFound(
            f"there is no such snapshot in {repository}", next_step="ncc homelab backup snapshots shows them"
        )
    if _DAMAGED.search(text):
        return WrongState(
            f"{repository} is damaged: {shown.strip()[-1500:]}",
            next_step=(
                "restore what can be read, look at its disk, then use `restic repair index` (before 0.16: "
                "`rebuild-index`) and `restic prune`"
            ),
        )
    return CommandFailed(["restic", command], exit_code, shown.partition(_HINT)[0].strip())


def _cause(text: str) -> str:
    """The line that tells most: what a program between says, else the last one."""
    lines = [line for line in text.partition(_HINT)[0].splitlines() if line.strip()]
    between = [line for line in lines if line.startswith(("subprocess ", "rclone: ")) or _SYSTEM.search(line)]
    return (between or lines or [""])[-1]
