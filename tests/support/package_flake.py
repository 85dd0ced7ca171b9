"""A flake of small real packages that moves on, and a Nix store of one's own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

from services.packages.drivers.memory import MemoryPackage

# The same packages for both drivers: in memory as they are, for Nix as JSON that a flake makes derivations of.
FLAKE = """{
  outputs = { self }:
    let
      data = builtins.fromJSON (builtins.readFile ./packages.json);
      packages = system: builtins.mapAttrs (make system) data;
      make = system: attribute: p:
        if p.error != "" then bare system p // { drvPath = throw p.error; outPath = throw p.error; } else
        (derivation {
          inherit system;
          name = "${p.pname}-${p.version}";
          inherit (p) pname version outputs;
          files = if p.files == [ ] then [ "bin/${p.pname}" ] else p.files;
          needs = map (name: (packages system).${name}) p.needs;
          builder = "/bin/sh";
          PATH = "/usr/bin:/bin";
          args = [ "-c" ''
            set -e
            for output in $outputs; do
              eval path=\\$$output
              suffix=; [ "$output" = out ] || suffix=-$output
              for file in $files; do
                mkdir -p "$(dirname $path/$file)"
                printf '#!/bin/sh\\n# %s\\necho %s %s\\n' "$needs" "$pname" "$version" > $path/$file$suffix
                chmod +x $path/$file$suffix
              done
            done
          '' ];
        }) // bare system p;
      # As in nixpkgs, one that is refused can still be listed.
      bare = system: p: {
        type = "derivation";
        inherit system;
        inherit (p) pname version outputs;
        name = "${p.pname}-${p.version}";
        outputName = "out";
        meta = {
          name = "${p.pname}-${p.version}";
          inherit (p) description unfree;
          license = { spdxId = "MIT"; free = !p.unfree; };
          platforms = [ system ];
        };
      };
    in
    {
      packages = builtins.listToAttrs
        (map (name: { inherit name; value = packages name; }) [ "x86_64-linux" "aarch64-linux" ]);
    };
}
"""
START = {
    "libgreet": MemoryPackage("libgreet", "0.3", "Greets"),
    "hello": MemoryPackage("hello", "1.0", "A program that greets", needs=("libgreet",)),
    "other": MemoryPackage("other", "3.1", "Says hello, too", files=("bin/hello",)),
    "multi": MemoryPackage("multi", "1.4", outputs=("out", "dev")),
    "unfree": MemoryPackage(
        "unfree",
        "1",
        unfree=True,
        error="Package ‘unfree-1’ has an unfree license (‘unfree’), refusing to evaluate.",
    ),
}


def store_environment(folder: Path) -> dict[str, str]:
    """Where Nix keeps everything, below the folder."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {
        "NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters =\n"
        "experimental-features = nix-command flakes\nconnect-timeout = 1\n",
        "NIX_STORE_DIR": str(folder / "nix/store"),
        "NIX_STATE_DIR": str(folder / "nix/var/nix"),
        "NIX_LOG_DIR": str(folder / "nix/log"),
        "NIX_CONF_DIR": str(folder / "nix/etc"),
        "NIX_USER_CONF_FILES": "",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
    }


class PackageFlake:
    """A git repository; each `publish` is a revision."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"git+file://{folder}"
        self.packages = dict(START)
        (folder / "flake.nix").write_text(FLAKE)

    def publish(self, **changed: MemoryPackage | str | None) -> None:
        """The next revision: packages anew, gone (None), or with another version."""
        for name, package in changed.items():
            if package is None:
                del self.packages[name]
            elif isinstance(package, str):
                self.packages[name] = dataclasses.replace(self.packages[name], version=package)
            else:
                self.packages[name] = package
        rows = {name: dataclasses.asdict(package) for name, package in self.packages.items()}
        (self.folder / "packages.json").write_text(json.dumps(rows, indent=1))
        commit(self.folder)


def commit(folder: Path) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    if not (folder / ".git").exists():
        _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", "-A")
    _git(folder, *identity, "commit", "-q", "-m", "next", "--allow-empty")


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
