"""Networks on a real dockerd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.errors import ControlError, WrongState
from dockerd import Dockerd
from nixcc.homelab.v1.container_pb2 import AddressPool, AddressPools, ContainerNetwork
from services.homelab.containers.differences import differing
from services.homelab.drivers.base import Engine
from services.homelab.kinds.network import ContainerNetworkKind, body, read

pytestmark = pytest.mark.host


@pytest.fixture
def kind(engine: Engine, daemon: Dockerd) -> Iterator[ContainerNetworkKind]:
    yield ContainerNetworkKind(engine)
    daemon.docker("network", "prune", "--force")


def pools(subnet: str, **fields: str) -> AddressPools:
    return AddressPools(pools=[AddressPool(subnet=subnet, **fields)])


def test_it_comes_to_be_as_asked(kind: ContainerNetworkKind, step: Callable[..., Any]) -> None:
    spec = ContainerNetwork(
        driver="bridge",
        internal=True,
        attachable=True,
        labels={"who": "me"},
        options={"com.docker.network.bridge.enable_icc": "false"},
        address_pools=pools("10.77.1.0/24", ip_range="10.77.1.128/25"),
    )
    assert step(kind, "inner", spec).changed
    found = kind.detect(["inner", "absent"])
    assert not differing(spec, found["inner"].spec)  # type: ignore[union-attr]
    assert found["absent"] is None
    assert "inner" in kind.enumerate()
    assert "bridge" not in kind.enumerate()
    assert not step(kind, "inner", spec).changed
    assert step(kind, "inner", None).changed
    assert not step(kind, "inner", None).changed
    assert kind.detect(["inner"])["inner"] is None


def test_one_that_differs_is_made_anew(kind: ContainerNetworkKind, step: Callable[..., Any]) -> None:
    step(kind, "inner", ContainerNetwork(driver="bridge", internal=True))
    spec = ContainerNetwork(driver="bridge", internal=False, address_pools=pools("10.77.3.0/24"))
    assert "anew" in step(kind, "inner", spec).message
    assert not differing(spec, kind.detect(["inner"])["inner"].spec)  # type: ignore[union-attr]


def test_one_that_can_not_be_made_anew_is_as_it_was(
    kind: ContainerNetworkKind, step: Callable[..., Any]
) -> None:
    step(kind, "first", ContainerNetwork(driver="bridge", address_pools=pools("10.77.1.0/24")))
    spec = ContainerNetwork(driver="bridge", labels={"a": "b"}, address_pools=pools("10.77.2.0/24"))
    step(kind, "second", spec)
    with pytest.raises(ControlError, match=r"(?i)overlap"):
        step(kind, "second", ContainerNetwork(driver="bridge", address_pools=pools("10.77.1.0/24")))
    assert not differing(spec, kind.detect(["second"])["second"].spec)  # type: ignore[union-attr]


def test_nobody_is_cut_off(
    kind: ContainerNetworkKind, step: Callable[..., Any], run: Callable[..., str], daemon: Dockerd
) -> None:
    step(kind, "inner", ContainerNetwork(driver="bridge", internal=True))
    run("member", "sleep infinity", "--network", "inner")
    for spec in (ContainerNetwork(driver="bridge", internal=False), None):
        with pytest.raises(WrongState, match="member is in the network inner"):
            step(kind, "inner", spec)
    assert kind.detect(["inner"])["inner"].spec.internal  # type: ignore[union-attr]
    daemon.docker("rm", "--force", "member")


@pytest.mark.parametrize(
    ("name", "spec", "field"),
    [
        ("bridge", ContainerNetwork(), ""),
        ("inner", ContainerNetwork(address_pools=pools("10.1.2.3/8")), "address_pools.pools[0].subnet"),
        ("inner", ContainerNetwork(address_pools=pools("none")), "address_pools.pools[0].subnet"),
        (
            "inner",
            ContainerNetwork(address_pools=pools("10.1.0.0/16", gateway="10.2.0.1")),
            "address_pools.pools[0].gateway",
        ),
        (
            "inner",
            ContainerNetwork(address_pools=pools("10.1.0.0/16", gateway="x")),
            "address_pools.pools[0].gateway",
        ),
        (
            "inner",
            ContainerNetwork(address_pools=pools("10.1.0.0/16", ip_range="fd00::/64")),
            "address_pools.pools[0].ip_range",
        ),
    ],
)
def test_what_is_refused(engine: Engine, name: str, spec: ContainerNetwork, field: str) -> None:
    assert [one.field for one in ContainerNetworkKind(engine).validate(name, spec)] == [field]


def test_the_engines_words_and_back() -> None:
    spec = ContainerNetwork(
        driver="macvlan",
        internal=False,
        ipv6=True,
        attachable=False,
        options={"parent": "eth0"},
        labels={"a": "b"},
        address_pools=pools("10.1.0.0/16", gateway="10.1.0.1"),
    )
    told = body(spec, {"com.docker.compose.project": "media", "io.nixcc.made": "yes"})
    assert told["Labels"]["com.docker.compose.project"] == "media"
    assert read(told) == spec
