"""As the control loop compares, so does this: held against the loop's own comparison."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixcc.homelab.v1.container_pb2 import AddressPool, AddressPools, Container, ContainerNetwork, Port
from reconciler.diff import diff
from services.homelab.containers.differences import differing

POOLS = st.lists(
    st.builds(
        AddressPool,
        subnet=st.sampled_from(["10.1.0.0/16", "10.2.0.0/16"]),
        gateway=st.none() | st.sampled_from(["10.1.0.1", "10.2.0.1"]),
    ),
    max_size=3,
)
TEXTS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["", "x"]), max_size=2)
NETWORKS = st.builds(
    ContainerNetwork,
    driver=st.none() | st.sampled_from(["", "bridge", "macvlan"]),
    internal=st.none() | st.booleans(),
    address_pools=st.none() | st.builds(AddressPools, pools=POOLS),
    options=TEXTS,
)
PORTS = st.lists(st.builds(Port, container=st.integers(1, 2), host=st.none() | st.integers(1, 2)), max_size=3)
CONTAINERS = st.builds(
    Container, command=st.lists(st.sampled_from("ab"), max_size=2), ports=PORTS, labels=TEXTS
)


def top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


@given(NETWORKS, NETWORKS)
def test_networks_as_the_loop_does(desired: ContainerNetwork, seen: ContainerNetwork) -> None:
    assert differing(desired, seen) == {top(one.path) for one in diff(desired, seen)}


@given(CONTAINERS, CONTAINERS)
def test_containers_as_the_loop_does(desired: Container, seen: Container) -> None:
    assert differing(desired, seen) == {top(one.path) for one in diff(desired, seen)}


@pytest.mark.parametrize("field", ["internal", "options"])
def test_each_is_named(field: str) -> None:
    assert differing(ContainerNetwork(internal=True, options={"a": "b"}), ContainerNetwork()) >= {field}
