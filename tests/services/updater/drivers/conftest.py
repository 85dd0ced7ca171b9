from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from common.nix.program import Nix
from services.updater.drivers.base import Flakes
from services.updater.drivers.memory import MemoryChannels, MemoryFlake, MemoryFlakes
from services.updater.drivers.nix_channels import NixChannels
from services.updater.drivers.nix_flakes import NixFlakes
from updater_flakes import Source, git, nix_environment, write_flake
from updater_host import FLAKE, revision


class World(Protocol):
    """A host with one flake, `FLAKE`, whose inputs a and b are git repositories, and c follows a."""

    flakes: Flakes

    def url(self, name: str) -> str: ...
    def revisions(self, name: str) -> list[str]: ...
    def advance(self, name: str) -> str: ...
    def lose(self, name: str) -> None: ...
    def declare(self, declared: dict[str, str]) -> None: ...
    def detach(self) -> None: ...
    def messages(self) -> list[str]: ...


class MemoryWorld:
    def __init__(self, folder: Path) -> None:
        self.flakes = MemoryFlakes()
        for name in ("a", "b"):
            self.flakes.sources[self.url(name)] = [revision(1)]
        self.flakes.flakes[FLAKE] = MemoryFlake({})
        self.declare({"a": self.url("a"), "b": self.url("b"), "c": "follows:a"})

    def url(self, name: str) -> str:
        return f"git+file:///{name}"

    def revisions(self, name: str) -> list[str]:
        return self.flakes.sources[self.url(name)]

    def advance(self, name: str) -> str:
        self.revisions(name).append(revision(len(self.revisions(name)) + 1))
        return self.revisions(name)[-1]

    def lose(self, name: str) -> None:
        del self.flakes.sources[self.url(name)]

    def declare(self, declared: dict[str, str]) -> None:
        self.flakes.flakes[FLAKE].declared = declared

    def detach(self) -> None:
        self.flakes.flakes[FLAKE].detached = True

    def messages(self) -> list[str]:
        return self.flakes.flakes[FLAKE].commits


class NixWorld:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "root/etc/nixos"
        self.sources = {name: Source(folder / "sources" / name) for name in ("a", "b")}
        self.environment = nix_environment(folder)
        self.flakes = NixFlakes(Nix(self.environment), folder / "root")
        self.declare({"a": self.url("a"), "b": self.url("b"), "c": "follows:a"})

    def url(self, name: str) -> str:
        return self.sources[name].url

    def revisions(self, name: str) -> list[str]:
        return self.sources[name].revisions

    def advance(self, name: str) -> str:
        return self.sources[name].advance()

    def lose(self, name: str) -> None:
        self.sources[name].folder.rename(self.folder.parent / f"away-{name}")

    def declare(self, declared: dict[str, str]) -> None:
        write_flake(self.folder, declared)

    def detach(self) -> None:
        git(self.folder, "switch", "-q", "--detach")

    def messages(self) -> list[str]:
        return git(self.folder, "log", "--reverse", "--format=%B%x00").split("\0\n")[1:]


@pytest.fixture(params=["memory", pytest.param("nix", marks=pytest.mark.host)])
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    require: Callable[..., None],
) -> World:
    if request.param == "memory":
        return MemoryWorld(tmp_path)
    require(binary="nix")
    require(binary="git")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return NixWorld(tmp_path)


class Channels:
    """Channels, and a server that has one."""

    def __init__(self, channels: MemoryChannels | NixChannels, server: Path | None) -> None:
        self.channels, self.server = channels, server
        self.url = f"file://{server}" if server else "https://example.org/nixos"
        self.publish(1)

    def publish(self, version: int) -> None:
        if isinstance(self.channels, MemoryChannels):
            self.channels.versions[self.url] = version
            return
        assert self.server is not None
        tree = self.server / "tree/x"
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "default.nix").write_text(f"{{ version = {version}; }}\n")
        with tarfile.open(self.server / "nixexprs.tar.xz", "w:xz") as tar:
            tar.add(tree, "x")

    def lose(self) -> None:
        if isinstance(self.channels, MemoryChannels):
            self.channels.unreachable.add(self.url)
        elif self.server is not None:
            (self.server / "nixexprs.tar.xz").unlink()


@pytest.fixture(params=["memory", pytest.param("nix", marks=pytest.mark.host)])
def served(request: pytest.FixtureRequest, tmp_path: Path, require: Callable[..., None]) -> Channels:
    if request.param == "memory":
        return Channels(MemoryChannels(), None)
    require(binary="nix-channel")
    return Channels(NixChannels(tmp_path / "root", nix_environment(tmp_path)), tmp_path / "server")
