from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ControlError, NotFound
from services.updater.drivers.base import ChannelState
from services.updater.drivers.nix_channels import NixChannels
from updater_flakes import nix_environment

pytestmark = pytest.mark.host


def publish(folder: Path, version: int) -> str:
    """A channel's folder, as its server has it; gives its address."""
    content = folder / "tree/x"
    content.mkdir(parents=True, exist_ok=True)
    (content / "default.nix").write_text(f"{{ version = {version}; }}\n")
    with tarfile.open(folder / "nixexprs.tar.xz", "w:xz") as tar:
        tar.add(content, "x")
    return f"file://{folder}"


@pytest.fixture
def channels(tmp_path: Path, require: Callable[..., None]) -> NixChannels:
    require(binary="nix-channel")
    return NixChannels(tmp_path / "root", nix_environment(tmp_path))


def test_whole_life(channels: NixChannels, tmp_path: Path) -> None:
    assert channels.all() == {}
    url = publish(tmp_path / "server", 1)
    channels.set("mine", url)
    state = channels.all()["mine"]
    assert state.url == url
    assert "version = 1" in (Path(state.path) / "default.nix").read_text()
    other = publish(tmp_path / "other", 2)
    channels.set("mine", other)
    assert channels.all()["mine"].url == other
    assert "version = 2" in (Path(channels.all()["mine"].path) / "default.nix").read_text()
    assert channels.remove("mine")
    assert not channels.remove("mine")
    assert channels.all() == {}


def test_fetched_anew_and_put_back(channels: NixChannels, tmp_path: Path) -> None:
    channels.set("mine", publish(tmp_path / "server", 1))
    first = channels.all()["mine"].path
    publish(tmp_path / "server", 2)
    channels.update(["mine"])
    second = channels.all()["mine"].path
    assert "version = 2" in (Path(second) / "default.nix").read_text()
    channels.update([])
    assert channels.all()["mine"].path == second
    channels.roll_back()
    assert channels.all()["mine"].path == first
    with pytest.raises(NotFound):
        channels.update(["other"])
    with pytest.raises(NotFound, match="once at most"):
        channels.roll_back()


def test_unreachable_leaves_all_as_it_was(channels: NixChannels, tmp_path: Path) -> None:
    with pytest.raises(ControlError):
        channels.set("mine", f"file://{tmp_path}/nowhere")
    assert channels.all() == {}
    url = publish(tmp_path / "server", 1)
    channels.set("mine", url)
    with pytest.raises(ControlError):
        channels.set("mine", f"file://{tmp_path}/nowhere")
    assert channels.all()["mine"].url == url


def test_list_of_somebody_else(channels: NixChannels, tmp_path: Path) -> None:
    home = tmp_path / "root/root"
    home.mkdir(parents=True)
    (home / ".nix-channels").write_text(
        "# mine\nhttps://nixos.org/channels/nixos-26.05 nixos\n\nhttps://h/home-manager-unstable/\n"
    )
    assert channels.all() == {
        "nixos": ChannelState("nixos", "https://nixos.org/channels/nixos-26.05"),
        "home-manager": ChannelState("home-manager", "https://h/home-manager-unstable"),
    }
    assert os.listdir(home) == [".nix-channels"]
