"""The git repository around a flake. Nothing but the lock file is ever committed."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from common.errors import CommandFailed, Forbidden, Unsupported
from common.process import Completed, run
from services.updater.drivers.base import Committed

_TIMEOUT = 60.0
# A repository in the middle of these takes no commit of a single file.
_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "BISECT_LOG": "bisect",
}
# Hooks and signing are for people; a configured editor or pager must never be waited for.
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false", "-c", "core.editor=true")


@dataclass(frozen=True, slots=True)
class Repository:
    """A work tree and the flake's folder in it."""

    top: Path
    # The flake's folder within it; empty: it is the top itself.
    folder: str

    @property
    def lock(self) -> str:
        """The lock file within the work tree."""
        return os.path.join(self.folder, "flake.lock")

    @classmethod
    def around(cls, folder: Path) -> Repository | None:
        """None: it is in none. Forbidden where git distrusts it, Unsupported without git."""
        if not any((parent / ".git").exists() for parent in (folder, *folder.parents)):
            return None
        try:
            top = Path(_git(folder, "rev-parse", "--show-toplevel").text.rstrip("\n"))
        except CommandFailed as error:
            if "dubious ownership" in error.stderr:
                raise Forbidden(
                    f"git distrusts {folder}: it belongs to somebody else",
                    next_step=f"git config --global --add safe.directory {folder}",
                ) from error
            if "must be run in a work tree" in error.stderr or "not a git repository" in error.stderr:
                return None
            raise
        within = os.path.relpath(os.path.realpath(folder), os.path.realpath(top))
        return cls(top, "" if within == "." else within)

    def files(self) -> list[str]:
        """Tracked files that exist, relative to the top: those that Nix sees."""
        listed = _git(self.top, "ls-files", "-z", "--cached").stdout.split(b"\0")
        names = dict.fromkeys(os.fsdecode(name) for name in listed if name)
        return [name for name in names if os.path.lexists(self.top / name)]

    def obstacle(self) -> tuple[str, str]:
        """Why the lock file can't be committed now, and what would help; empty: it can."""
        folder = Path(_git(self.top, "rev-parse", "--absolute-git-dir").text.rstrip("\n"))
        for name, what in _UNFINISHED.items():
            if (folder / name).exists():
                return f"{self.top} is in the middle of a {what}", f"finish it, or git {what} --abort"
        if _git(self.top, "symbolic-ref", "-q", "HEAD", check=False).exit_code != 0:
            return f"{self.top} is on no branch (detached HEAD)", "check one out: git switch NAME"
        status = _git(self.top, "status", "--porcelain", "--untracked-files=no", "--", self._literal).text
        # ` A` is `git add --intent-to-add`, as Nix leaves a new lock file.
        if status and not status.startswith((" A", "A ")):
            return (
                f"{self.top / self.lock} has changes that are not committed",
                f"commit them, or take them back: git restore --staged --worktree {self.lock}",
            )
        return "", ""

    def reservation(self) -> str:
        """Why the lock file is better not committed by us; empty: nothing."""
        if self._ignored():
            return f"git ignores {self.lock}: it is not committed"
        owner = os.stat(self.top / ".git").st_uid if (self.top / ".git").exists() else os.geteuid()
        if owner != os.geteuid():
            return (
                f"the repository belongs to another user (uid {owner}), who could not write what we commit: "
                "commit the lock file yourself"
            )
        return ""

    def commit(self, message: str) -> Committed:
        """Commits the lock file as it is now; nothing where HEAD has it so."""
        if reservation := self.reservation():
            return Committed("", reservation)
        tracked = (
            _git(self.top, "ls-files", "--error-unmatch", "--", self._literal, check=False).exit_code == 0
        )
        if not tracked:
            if not os.path.lexists(self.top / self.lock):
                return Committed("")
            _git(self.top, "add", "--intent-to-add", "--", self._literal)
        if (
            _git(
                self.top, "diff", "--quiet", "--no-ext-diff", "HEAD", "--", self._literal, check=False
            ).exit_code
            == 0
        ):
            return Committed("")
        _git(
            self.top,
            *_QUIET,
            "commit",
            "--quiet",
            "--no-verify",
            "--only",
            "-F",
            "-",
            "--",
            self._literal,
            input=message.encode(),
            env=_identity(),
        )
        return Committed(_git(self.top, "rev-parse", "HEAD").text.strip())

    @property
    def _literal(self) -> str:
        return f":(literal){self.lock}"

    def _ignored(self) -> bool:
        return _git(self.top, "check-ignore", "-q", "--", self.lock, check=False).exit_code == 0


def adopt(folder: Path) -> None:
    """Makes a repository of a copy, with every file in its index and no commit."""
    _git(folder, "init", "--quiet")
    _git(folder, "add", "--all", "--force")


def _identity() -> dict[str, str]:
    host = socket.gethostname() or "localhost"
    name, mail = "NixOS Control Center", f"nixcc@{host}"
    return {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": mail,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": mail,
    }


def _git(
    folder: Path,
    *arguments: str,
    check: bool = True,
    input: bytes | None = None,
    env: dict[str, str] | None = None,
) -> Completed:
    try:
        return run(
            ["git", "-C", str(folder), *arguments],
            input=input,
            env={"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", **(env or {})},
            check=check,
            timeout=_TIMEOUT,
        )
    except Unsupported as error:
        raise Unsupported(
            f"{folder} is in a git repository, and git is missing", next_step="install git"
        ) from error
