from __future__ import annotations

import threading
from typing import Any

import pytest

from nixcc.vm.v1 import network_pb2 as pb
from services.vm.drivers.base import VmDriver
from services.vm.kinds.network import VirtualNetworkKind
from vm_kinds import converge, delete, look, violations


@pytest.fixture
def kind(driver: VmDriver) -> VirtualNetworkKind:
    return VirtualNetworkKind(driver)


def lab(**fields: Any) -> pb.VirtualNetwork:
    given: dict[str, Any] = {"mode": pb.NETWORK_MODE_ISOLATED, "subnet": "10.99.0.1/24", **fields}
    return pb.VirtualNetwork(**given)


@pytest.mark.parametrize("mode", [pb.NETWORK_MODE_ISOLATED, pb.NETWORK_MODE_ROUTED, pb.NETWORK_MODE_NAT])
def test_every_field_comes_back_as_it_was_asked_for(kind: VirtualNetworkKind, mode: Any) -> None:
    spec = lab(
        mode=mode,
        bridge="nccbr1",
        domain="lab.test",
        autostart=True,
        running=mode == pb.NETWORK_MODE_ISOLATED,
        dhcp=pb.Dhcp(
            ranges=[pb.DhcpRange(start="10.99.0.10", end="10.99.0.20")],
            hosts=[pb.DhcpHost(mac="52:54:00:AA:00:01", address="10.99.0.30", name="a")],
        ),
    )
    converge(kind, "lab", spec)
    assert "lab" in kind.enumerate()
    delete(kind, "lab")


def test_a_network_on_the_hosts_own_bridge(kind: VirtualNetworkKind) -> None:
    converge(kind, "lab", pb.VirtualNetwork(mode=pb.NETWORK_MODE_BRIDGE, bridge="br0"))
    converge(kind, "lab", lab(mode=pb.NETWORK_MODE_ISOLATED, bridge="nccbr1"))


def test_six_is_spoken_too(kind: VirtualNetworkKind) -> None:
    converge(kind, "lab", lab(subnet="fd00:0:0::1/64"))
    assert look(kind, "lab").spec.subnet == "fd00::1/64"


def test_what_drifts_is_put_back(kind: VirtualNetworkKind, driver: VmDriver) -> None:
    spec = lab(running=True)
    converge(kind, "lab", spec)
    told = threading.Event()
    kind.watch(lambda keys: told.set() if "lab" in keys else None)
    driver.networks.stop("lab")
    assert told.wait(5)
    kind.close()
    assert look(kind, "lab").spec.running is False
    assert converge(kind, "lab", spec).changed
    driver.networks.stop("lab")
    driver.networks.undefine("lab")
    assert converge(kind, "lab", spec).changed


def test_a_changed_subnet_waits_until_the_network_starts_anew(
    kind: VirtualNetworkKind, driver: VmDriver
) -> None:
    spec = lab(running=True)
    converge(kind, "lab", spec)
    spec.subnet = "10.98.0.1/24"
    applied = converge(kind, "lab", spec)
    if "test" in driver.hypervisor().domain_types:
        return  # it has one definition only: all changes are live
    assert list(applied.pending) == ["subnet"]
    assert list(look(kind, "lab").pending) == ["subnet"]


def test_dhcp_changes_while_the_network_is_up(kind: VirtualNetworkKind) -> None:
    spec = lab(running=True, dhcp=pb.Dhcp(ranges=[pb.DhcpRange(start="10.99.0.10", end="10.99.0.20")]))
    converge(kind, "lab", spec)
    spec.dhcp.hosts.add(mac="52:54:00:aa:00:01", address="10.99.0.30")
    applied = converge(kind, "lab", spec)
    assert not applied.pending


def test_a_spec_that_makes_no_sense_is_refused(kind: VirtualNetworkKind) -> None:
    cases: dict[str, pb.VirtualNetwork] = {
        "bridge": pb.VirtualNetwork(mode=pb.NETWORK_MODE_BRIDGE),
        "subnet": lab(subnet="10.99.0.0/24"),
        "dhcp": pb.VirtualNetwork(dhcp=pb.Dhcp(ranges=[pb.DhcpRange(start="10.0.0.1", end="10.0.0.2")])),
        "dhcp.ranges[0].end": lab(dhcp=pb.Dhcp(ranges=[pb.DhcpRange(start="10.99.0.9", end="10.98.0.9")])),
        "dhcp.hosts[0].address": lab(
            dhcp=pb.Dhcp(hosts=[pb.DhcpHost(mac="52:54:00:aa:00:01", address="999")])
        ),
        "domain": lab(domain="-rf"),
    }
    for field, spec in cases.items():
        assert field in violations(kind, "lab", spec), field
    assert "subnet" in violations(kind, "lab", lab(subnet="300.1.1.1/99"))
