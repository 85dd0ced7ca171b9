"""Real flakes whose inputs are git repositories that move forward, and Nix under a folder of its own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

CONFIG = """build-users-group =
sandbox = false
substituters =
experimental-features = nix-command flakes
"""


def nix_environment(folder: Path) -> dict[str, str]:
    """Nix with a store under `folder`; nothing of the machine's own is touched."""
    (folder / "home").mkdir(parents=True, exist_ok=True)
    return {
        "NIX_CONFIG": CONFIG,
        "NIX_STORE_DIR": str(folder / "nix/store"),
        "NIX_STATE_DIR": str(folder / "nix/var/nix"),
        "NIX_LOG_DIR": str(folder / "nix/var/log/nix"),
        "NIX_LOCALSTATE_DIR": str(folder / "nix/var"),
        "NIX_CONF_DIR": str(folder / "nix/etc"),
        "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "home/.cache"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }


def git(folder: Path, *arguments: str) -> str:
    """Git in a folder, as a person with a name."""
    command = [
        *("git", "-C", str(folder), "-c", "user.name=Owner", "-c", "user.email=owner@example.org"),
        *("-c", "init.defaultBranch=main", "-c", "commit.gpgSign=false", *arguments),
    ]
    env = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return done.stdout.strip()


@dataclass
class Source:
    """A git repository that is an input."""

    folder: Path
    revisions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not (self.folder / ".git").exists():
            self.folder.mkdir(parents=True)
            git(self.folder, "init", "-q")
            self.advance()

    @property
    def url(self) -> str:
        return f"git+file://{self.folder}?ref=main"

    def advance(self) -> str:
        """A further commit; gives its revision."""
        number = len(self.revisions) + 1
        (self.folder / "flake.nix").write_text(f"{{ outputs = _: {{ version = {number}; }}; }}\n")
        git(self.folder, "add", "flake.nix")
        git(self.folder, "commit", "-q", "-m", f"version {number}")
        self.revisions.append(git(self.folder, "rev-parse", "HEAD"))
        return self.revisions[-1]


def write_flake(folder: Path, declared: dict[str, str], *, repository: bool = True) -> None:
    """A flake with these inputs (`follows:NAME` for one that follows), committed where it is in a repository."""
    lines = []
    for name, url in declared.items():
        what = f'follows = "{url[8:]}"' if url.startswith("follows:") else f'url = "{url}"'
        lines.append(f"  inputs.{name}.{what};")
    folder.mkdir(parents=True, exist_ok=True)
    text = "{\n" + "\n".join(lines) + "\n  outputs = inputs: { };\n}\n"
    (folder / "flake.nix").write_text(text)
    if repository:
        if not (folder / ".git").exists():
            git(folder, "init", "-q")
        git(folder, "add", "flake.nix")
        git(folder, "commit", "-q", "-m", "flake")
