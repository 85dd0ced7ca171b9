"""What restic's messages mean. Up to 0.16 it exits with 1 for nearly everything: the text has to tell."""

from __future__ import annotations

import re

from common.errors import CommandFailed, ControlError, Forbidden, HostUnavailable, NotFound, WrongState


class Locked(WrongState):
    """Another process holds the repository, or one that died did."""


_ABSENT = re.compile(
    r"unable to open config file: .*(no such file or directory|does not exist|not found|404)",
    re.IGNORECASE | re.DOTALL,
)
_UNREACHABLE = re.compile(
    r"connection refused|no such host|i/o timeout|dial tcp|network is unreachable|no route to host"
    r"|connection reset|transport endpoint|unable to start the sftp session",
    re.IGNORECASE,
)
_DAMAGED = re.compile(
    r"repository contains errors|pack .* (is damaged|does not match)|ciphertext verification", re.IGNORECASE
)


def translated(command: str, exit_code: int, text: str, repository: str, shown: str = "") -> ControlError:
    """The error behind a failed command.

    `shown` is `text` with secrets masked (empty: it has none), and so is `repository`: a password may be a word that
    restic's messages are made of, so they are read unmasked and told masked.
    """
    shown = shown or text
    low = text.lower()
    if "wrong password or no key found" in low:
        return Forbidden(
            f"the password does not open {repository}", next_step="correct what password_file holds"
        )
    if "already locked" in low:
        held = next((line for line in shown.splitlines() if "locked" in line.lower()), "")
        return Locked(
            f"{repository} is locked: {held}".rstrip(": "),
            next_step="wait until the other run has ended; ncc removes locks of dead processes by itself",
        )
    if "no space left on device" in low or "disk quota exceeded" in low:
        return WrongState(
            f"there is no room left for {repository}; what was there before is untouched",
            next_step="make room, or keep less",
        )
    if _ABSENT.search(text):
        return NotFound(
            f"there is no repository at {repository}",
            next_step="mount or restore what held it; a new one is only made at a job's first run",
        )
    if _UNREACHABLE.search(text):
        return HostUnavailable(f"{repository} does not answer: {_last(shown)}", retry_after=60)
    if "permission denied" in low:
        return Forbidden(f"{repository}: {_last(shown)}", next_step="look at the permissions")
    if "no matching id found" in low or "no snapshot found" in low or "not found for snapshot" in low:
        return NotFound(
            f"there is no such snapshot in {repository}", next_step="ncc homelab backup list shows them"
        )
    if command == "check" or _DAMAGED.search(text):
        return WrongState(
            f"{repository} is damaged: {shown.strip()[-1500:]}",
            next_step="restore what can be read, look at its disk, then use restic rebuild-index and prune",
        )
    return CommandFailed(["restic", command], exit_code, shown)


def _last(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
