"""Real flakes whose inputs are git repositories that move forward, and Nix under a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

CONFIG = """build-users-group =
sandbox = false
substituters =
experimental-features = nix-command flakes
download-attempts = 1
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

    def advance(self, **says: int) -> str:
        """A further commit, which may say more than its version; gives its revision."""
        number = len(self.revisions) + 1
        more = "".join(f" {name} = {value};" for name, value in says.items())
        (self.folder / "flake.nix").write_text(f"{{ outputs = _: {{ version = {number};{more} }}; }}\n")
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


_SCRIPT = """#!/bin/sh
self=$(readlink -f "$0"); self=${self%/bin/switch-to-configuration}
root=@root@
exec 9>>"$root/run/nixos/switch-to-configuration.lock"
flock -n 9 || { echo "Could not acquire lock" >&2; exit 1; }
echo "$1 $self" >>"$root/actions"
link() { ln -s "$self" "$1.$$" && mv -T "$1.$$" "$1"; }
code=0
case $1 in
dry-activate) echo "would restart the following units: web.service" >&2 ;;
test|switch)
  sleep $(cat "$self/pause")
  code=$(cat "$self/code")
  case $code in 0|4) link "$root/run/current-system" ;; esac ;;
esac
case $1 in boot|switch) link "$root/boot/default" ;; esac
exit $code
"""

_FLAKE = """{
@inputs@
  outputs = inputs: let
    parts = builtins.filter (part: part ? version) (builtins.attrValues (removeAttrs inputs [ "self" ]));
    text = field: default: builtins.concatStringsSep "." (map (part: toString (part.${field} or default)) parts);
    worst = field: toString (builtins.foldl' (a: part: if part ? ${field} then part.${field} else a) 0 parts);
  in {
    nixosConfigurations.web.config.system.build.toplevel = derivation {
      name = "nixos-system-web";
      system = "@system@";
      builder = "/bin/sh";
      PATH = "/usr/bin:/bin";
      version = text "version" 0;
      code = worst "code";
      pause = worst "pause";
      fails = worst "fails";
      script = ./switch-to-configuration;
      args = [ "-ec" ''
        [ "$fails" = 0 ] || { echo "this input is broken"; exit 3; }
        mkdir -p $out/bin $out/etc
        cp $script $out/bin/switch-to-configuration
        chmod +x $out/bin/switch-to-configuration
        echo "$version" >$out/nixos-version
        echo "$code" >$out/code
        echo "$pause" >$out/pause
        ln -s /vmlinuz $out/kernel
      '' ];
    };
  };
}
"""


class SwitchedHost:
    """A NixOS host in `folder/root`, built from the flake in its /etc/nixos; its systems are shell scripts.

    An input that says `code` makes the next system's activation end so, one that says `pause` makes it last seconds,
    one that says `fails` makes the build fail.
    """

    def __init__(self, folder: Path, inputs: int = 2) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.environment = nix_environment(folder) | {
            "NIX_STATE_DIR": str(self.root / "nix/var/nix"),
            "NCC_UPDATER_CONFIGURATION": "web",
        }
        for part in ("etc", "boot", "run/nixos", "nix/var/nix/profiles", "nix/var/nix/gcroots"):
            (self.root / part).mkdir(parents=True)
        (self.root / "etc/NIXOS").touch()
        self.sources = [Source(folder / f"sources/i{number}") for number in range(inputs)]
        self.flake = self.root / "etc/nixos"
        self.flake.mkdir()
        declared = "\n".join(
            f'  inputs.i{number}.url = "{source.url}";' for number, source in enumerate(self.sources)
        )
        text = _FLAKE.replace("@inputs@", declared).replace("@system@", f"{os.uname().machine}-linux")
        (self.flake / "flake.nix").write_text(text)
        (self.flake / "switch-to-configuration").write_text(_SCRIPT.replace("@root@", str(self.root)))
        git(self.flake, "init", "-q")
        git(self.flake, "add", ".")
        self.nix("nix", "flake", "lock", str(self.flake))
        git(self.flake, "add", ".")
        git(self.flake, "commit", "-q", "-m", "flake")
        toplevel = self.nix("nix", "build", "--no-link", "--json", f"{self.flake}#{ATTRIBUTE}")
        self.install(json.loads(toplevel)[0]["outputs"]["out"])

    def install(self, toplevel: str) -> None:
        """As an installer does: a generation, booted and running."""
        self.nix("nix-env", "-p", str(self.root / "nix/var/nix/profiles/system"), "--set", toplevel)
        for link in ("run/current-system", "run/booted-system", "boot/default"):
            (self.root / link).unlink(missing_ok=True)
            (self.root / link).symlink_to(toplevel)

    def nix(self, *argv: str) -> str:
        """Runs Nix; its output."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout

    @property
    def version(self) -> str:
        """Of the running system: the versions of its inputs."""
        return (self.root / "run/current-system/nixos-version").read_text().strip()

    @property
    def boot_version(self) -> str:
        """Of the system that starts with the host."""
        return (self.root / "boot/default/nixos-version").read_text().strip()

    @property
    def lock(self) -> bytes:
        """The lock file."""
        return (self.flake / "flake.lock").read_bytes()

    @property
    def log(self) -> list[str]:
        """Subjects of the flake's commits, newest first."""
        return git(self.flake, "log", "--format=%s").splitlines()

    @property
    def clean(self) -> bool:
        """Nothing in the flake's folder differs from its last commit."""
        return not git(self.flake, "status", "--porcelain")


ATTRIBUTE = "nixosConfigurations.web.config.system.build.toplevel"
