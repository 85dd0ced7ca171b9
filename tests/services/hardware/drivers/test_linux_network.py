"""Interfaces made for the test on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from services.hardware.drivers.ethtool import Ethtool
from services.hardware.drivers.linux_network import network_interfaces
from services.hardware.drivers.names import Names
from services.hardware.drivers.tree import Notes, Tree
from services.hardware.models.devices import NetworkInterface

pytestmark = pytest.mark.host


@pytest.fixture
def interfaces(require: Callable[..., None]) -> Iterator[dict[str | None, NetworkInterface]]:
    require(root=True)
    require(binary="ip")
    commands = [
        "link add nccveth0 address 02:00:00:00:00:01 mtu 1400 type veth peer name nccveth1",
        "link add nccbr0 type bridge",
        "link set nccveth1 master nccbr0",
        "link set nccveth0 up",
        "link set nccveth1 up",
        "address add 192.0.2.77/28 dev nccveth0",
        "address add 2001:db8::77/64 dev nccveth0 nodad",
    ]
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True)
        found = network_interfaces(Tree(), Names(), Notes())
        yield {interface.name: interface for interface in found}
    finally:
        for name in ("nccveth0", "nccbr0"):
            subprocess.run(["ip", "link", "delete", name], check=False)


def test_a_veth_pair_in_a_bridge(interfaces: dict[str | None, NetworkInterface]) -> None:
    first, second, bridge = (interfaces[name] for name in ("nccveth0", "nccveth1", "nccbr0"))
    assert (first.type, first.physical, first.mac, first.mtu) == ("veth", False, "02:00:00:00:00:01", 1400)
    assert (first.state, first.enabled, first.carrier, first.duplex) == ("up", True, True, "full")
    assert {"192.0.2.77/28", "2001:db8::77/64"} <= set(first.addresses)
    assert second.master == "nccbr0"
    assert bridge.type == "bridge"
    loopback = interfaces["lo"]
    assert (loopback.type, loopback.mac) == ("loopback", None)
    assert "127.0.0.1/8" in loopback.addresses


def test_ethtool_answers_or_says_nothing() -> None:
    with Ethtool() as ethtool:
        assert ethtool.driver("no-such-one") is None
        assert ethtool.link("no-such-one") is None
        assert ethtool.permanent_address("lo") is None
