from __future__ import annotations

import pytest

from common.errors import HostUnavailable
from common.manager import Action, Change, Detected
from nixcc.updater.v1.channel_pb2 import Channel
from services.updater.drivers.base import ChannelState
from services.updater.drivers.memory import MemoryChannels
from services.updater.kinds.channel import ChannelKind

URL = "https://nixos.org/channels/nixos-26.05"


@pytest.fixture
def channels() -> MemoryChannels:
    return MemoryChannels()


@pytest.fixture
def kind(channels: MemoryChannels) -> ChannelKind:
    return ChannelKind(channels)


def report(message: str, percent: int | None) -> None:
    """Nobody listens."""


def test_whole_life(kind: ChannelKind) -> None:
    spec = Channel(url=f"{URL}/")
    assert kind.validate("nixos", spec) == []
    assert spec == Channel(name="nixos", url=URL)
    assert kind.detect(["nixos"]) == {"nixos": None}
    assert kind.apply(Change("nixos", Action.CREATE, spec, None), report).changed
    found = kind.detect(["nixos"])["nixos"]
    assert isinstance(found, Detected)
    assert (found.spec.url, found.unhealthy) == (URL, "")
    assert found.spec.revision.startswith("/nix/store/")
    assert not kind.apply(Change("nixos", Action.UPDATE, spec, None), report).changed
    assert list(kind.enumerate()) == ["nixos"]
    assert kind.apply(Change("nixos", Action.DELETE, None, None), report).changed
    assert not kind.apply(Change("nixos", Action.DELETE, None, None), report).changed
    assert kind.detect(["nixos"]) == {"nixos": None}


def test_never_fetched_is_unhealthy_and_fetched(kind: ChannelKind, channels: MemoryChannels) -> None:
    channels.channels["nixos"] = ChannelState("nixos", URL)
    found = kind.detect(["nixos"])["nixos"]
    assert isinstance(found, Detected)
    assert "never fetched" in found.unhealthy
    assert kind.apply(Change("nixos", Action.UPDATE, Channel(name="nixos", url=URL), None), report).changed
    assert channels.channels["nixos"].path


def test_unreachable(kind: ChannelKind, channels: MemoryChannels) -> None:
    channels.unreachable.add(URL)
    with pytest.raises(HostUnavailable):
        kind.apply(Change("nixos", Action.CREATE, Channel(name="nixos", url=URL), None), report)
    assert kind.detect(["nixos"]) == {"nixos": None}


def test_refused(kind: ChannelKind) -> None:
    found = kind.validate("nixos", Channel(url="https://me:secret@example.org/x"))
    assert [violation.field for violation in found] == ["url"]
    assert "me:secret" not in found[0].description
    assert [v.field for v in kind.validate("9@x", Channel(url=URL))] == ["name"]
