from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from package_flake import START, PackageFlake, store_environment
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.index import PackageIndexes
from services.packages.drivers.memory import MemoryFlake, MemoryHost, MemoryPackage
from services.packages.drivers.record import Record
from services.packages.installation import Installation
from services.packages.kinds.package import PackageKind


@dataclass
class Bench:
    """A driver with everything around it, and a flake that moves on."""

    driver: Any
    store: Any
    catalog: Any
    flake: str
    root: Path
    indexes: PackageIndexes
    repository: PackageFlake | None = None

    def __post_init__(self) -> None:
        self.generation = ActiveGeneration(self.root)
        self.installation = self.made_anew()
        self.kind = PackageKind(self.installation, self.generation)

    def made_anew(self) -> Installation:
        """As after a restart."""
        record = Record(self.root / "state/profile.json")
        return Installation(
            *(self.driver, record, self.indexes.versions, self.flake),
            lambda: self.generation.options("Package").keys(),
        )

    def publish(self, **packages: MemoryPackage | None) -> None:
        """The flake's next revision."""
        if self.repository is not None:
            self.repository.publish(**packages)
            return
        memory = self.driver.flakes.setdefault(self.flake, MemoryFlake([START]))
        now = {**memory.revisions[-1], **packages}
        memory.publish({name: package for name, package in now.items() if package is not None})

    def refresh(self, *, force: bool = False) -> Any:
        """Index of the flake as it is now; whether it was made anew."""
        return self.indexes.refresh(
            self.flake, "", force=force, now=0, tell=lambda progress: None, cancel=threading.Event()
        )

    def versions(self) -> dict[str, str]:
        """What the profile holds: versions by attribute."""
        return {element.attribute: element.version for element in self.driver.elements()}


@pytest.fixture
def nix_environment(require: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """A Nix store of the test's own."""
    require(binary="nix")
    require(binary="git")
    environment = store_environment(tmp_path)
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
    bench.publish()
    yield bench
    bench.kind.close()
    indexes.close()


@pytest.fixture
def nix(nix_environment: Mapping[str, str], tmp_path: Path) -> Iterator[Bench]:
    """Nix itself."""
    from services.packages.drivers.nix_catalog import NixCatalog
    from services.packages.drivers.nix_profile import NixProfileDriver
    from services.packages.drivers.nix_store import NixStore

    root = tmp_path / "root"
    (tmp_path / "flake").mkdir()
    repository = PackageFlake(tmp_path / "flake")
    folder = root / "nix/var/nix/profiles/nixcc"
    root.mkdir()
    flake, catalog = repository.url, NixCatalog()
    indexes = PackageIndexes(tmp_path / "index", catalog)
    store = NixStore(root, folder / "profile")
    bench = Bench(NixProfileDriver(folder, flake), store, catalog, flake, root, indexes, repository)
    bench.publish()
    yield bench
    bench.kind.close()
    indexes.close()


@pytest.fixture(params=["memory", pytest.param("nix", marks=pytest.mark.host)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each driver in turn."""
    made: Bench = request.getfixturevalue(request.param)
    return made
