from __future__ import annotations

import dataclasses
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.index import PackageIndexes
from services.packages.drivers.memory import MemoryFlake, MemoryHost, MemoryPackage
from services.packages.drivers.record import Record
from services.packages.installation import Installation
from services.packages.kinds.package import PackageKind

# The same packages for both drivers: in memory as they are, for Nix as JSON that a flake makes derivations of.
FLAKE = """{
  outputs = { self }:
    let
      data = builtins.fromJSON (builtins.readFile ./packages.json);
      packages = system: builtins.mapAttrs (make system) data;
      make = system: attribute: p:
        if p.error != "" then throw p.error else
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
        }) // {
          inherit (p) pname version;
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


@dataclass
class Bench:
    """A driver with everything around it, and a flake that moves on."""

    driver: Any
    store: Any
    catalog: Any
    flake: str
    root: Path
    indexes: PackageIndexes
    repository: Path | None = None
    packages: dict[str, MemoryPackage] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generation = ActiveGeneration(self.root)
        self.installation = self.made_anew()
        self.kind = PackageKind(self.installation, self.generation)

    def made_anew(self) -> Installation:
        """As after a restart."""
        record = Record(self.root / "state/profile.json")
        return Installation(self.driver, record, self.indexes.versions, self.flake)

    def publish(self, **packages: MemoryPackage | None) -> None:
        """The flake's next revision."""
        changed = {name: package for name, package in {**self.packages, **packages}.items() if package}
        self.packages = changed
        if self.repository is None:
            self.driver.flakes.setdefault(self.flake, MemoryFlake()).publish(changed)
        else:
            rows = {name: dataclasses.asdict(package) for name, package in changed.items()}
            (self.repository / "packages.json").write_text(json.dumps(rows, indent=1))
            commit(self.repository)

    def refresh(self, *, force: bool = False) -> Any:
        """Index of the flake as it is now; whether it was made anew."""
        return self.indexes.refresh(
            self.flake, "", force=force, now=0, tell=lambda progress: None, cancel=threading.Event()
        )

    def versions(self) -> dict[str, str]:
        """What the profile holds: versions by attribute."""
        return {element.attribute: element.version for element in self.driver.elements()}


def commit(folder: Path) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    if not (folder / ".git").exists():
        _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", "-A")
    _git(folder, *identity, "commit", "-q", "-m", "next", "--allow-empty")


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def nix_environment(require: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """A Nix store of the test's own."""
    require(binary="nix")
    require(binary="git")
    environment = {
        "NIX_CONFIG": "build-users-group =\nsandbox = false\nsubstituters =\n"
        "experimental-features = nix-command flakes\nconnect-timeout = 1\n",
        "NIX_STORE_DIR": str(tmp_path / "nix/store"),
        "NIX_STATE_DIR": str(tmp_path / "nix/var/nix"),
        "NIX_LOG_DIR": str(tmp_path / "nix/log"),
        "NIX_CONF_DIR": str(tmp_path / "nix/etc"),
        "NIX_USER_CONF_FILES": "",
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "home/.cache"),
    }
    (tmp_path / "home").mkdir()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Bench]:
    """The driver in memory."""
    host = MemoryHost()
    root = tmp_path / "root"
    root.mkdir()
    indexes = PackageIndexes(tmp_path / "index", host)
    bench = Bench(host, host, host, "git+file:///flake", root, indexes)
    bench.publish(**START)
    yield bench
    bench.kind.close()
    indexes.close()


@pytest.fixture
def nix(nix_environment: Mapping[str, str], tmp_path: Path) -> Iterator[Bench]:
    """Nix itself."""
    from services.packages.drivers.nix_catalog import NixCatalog
    from services.packages.drivers.nix_profile import NixProfileDriver
    from services.packages.drivers.nix_store import NixStore

    root, repository = tmp_path / "root", tmp_path / "flake"
    folder = root / "nix/var/nix/profiles/nixcc"
    for each in (root, repository):
        each.mkdir()
    (repository / "flake.nix").write_text(FLAKE)
    flake, catalog = f"git+file://{repository}", NixCatalog()
    indexes = PackageIndexes(tmp_path / "index", catalog)
    store = NixStore(root, folder / "profile")
    bench = Bench(NixProfileDriver(folder, flake), store, catalog, flake, root, indexes, repository)
    bench.publish(**START)
    yield bench
    bench.kind.close()
    indexes.close()


@pytest.fixture(params=["memory", pytest.param("nix", marks=pytest.mark.host)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each driver in turn."""
    made: Bench = request.getfixturevalue(request.param)
    return made
