"""Kind Sysctl."""

from __future__ import annotations

import queue

import pytest

from common import spec as specs
from common.manager import Action, Change, Detected
from nixcc.system.v1.sysctl_pb2 import Sysctl
from services.system.drivers.memory import MemorySysctlDriver
from services.system.kinds.sysctl import SysctlKind

NAME = "net.ipv4.ip_forward"


@pytest.fixture
def kernel() -> dict[str, str]:
    return {NAME: "0", "net.ipv4.ip_local_port_range": "1 2"}


def wrong(spec: Sysctl) -> set[str]:
    kind = SysctlKind(MemorySysctlDriver({}))
    return {found.field for found in specs.violations(spec) or kind.validate("x", spec)}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (NAME, NAME),
        ("net/ipv4/ip_forward", NAME),
        ("net/ipv4/conf/eth0.100/forwarding", "net.ipv4.conf.eth0/100.forwarding"),
        ("net.ipv4.conf.eth0/100.forwarding", "net.ipv4.conf.eth0/100.forwarding"),
    ],
)
def test_names_become_one(written: str, name: str) -> None:
    spec = Sysctl(name=written, value=" 1\t\t2 \n")
    assert wrong(spec) == set()
    assert (spec.name, spec.value) == (name, "1 2")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "kernel",
        "/net",
        "net.",
        "net..x",
        "net.../x",
        "../etc.passwd",
        "-w.x=1",
        "net.*.x",
        "a b.c",
        "ä.b",
    ],
)
def test_wrong_names(name: str) -> None:
    assert wrong(Sysctl(name=name, value="1")) == {"name"}


def test_name_of_the_resource_is_enough() -> None:
    spec = Sysctl(value="1")
    assert SysctlKind(MemorySysctlDriver({})).validate(NAME, spec) == []
    assert spec.name == NAME


def test_empty_value() -> None:
    assert wrong(Sysctl(name=NAME, value="")) == {"value"}
    assert wrong(Sysctl(name=NAME, value=" \n")) == {"value"}


def test_round(kernel: dict[str, str]) -> None:
    kind = SysctlKind(MemorySysctlDriver(kernel))
    spec = Sysctl(name=NAME, value="1")
    assert kind.detect([NAME]) == {NAME: None}
    assert kind.enumerate() == []
    assert kind.apply(Change(NAME, Action.CREATE, spec, None), lambda m, p: None).changed
    found = kind.detect([NAME])[NAME]
    assert isinstance(found, Detected)
    assert found.spec == spec
    assert kind.enumerate() == [NAME]
    assert not kind.apply(Change(NAME, Action.UPDATE, spec, found.spec), lambda m, p: None).changed
    assert kind.apply(Change(NAME, Action.DELETE, None, found.spec), lambda m, p: None).changed
    assert kind.detect([NAME]) == {NAME: None}
    assert kernel[NAME] == "0"


def test_hint(kernel: dict[str, str]) -> None:
    told: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    kind = SysctlKind(MemorySysctlDriver(kernel), seconds=0.01)
    kind.apply(Change(NAME, Action.CREATE, Sysctl(name=NAME, value="1"), None), lambda m, p: None)
    kind.watch(lambda keys: told.put(tuple(keys)))
    try:
        kind.hold([NAME])
        kernel[NAME] = "0"
        assert told.get(timeout=5) == (NAME,)
    finally:
        kind.close()


def test_unsupported_says_why() -> None:
    kind = SysctlKind(MemorySysctlDriver({}), unsupported="confined")
    assert kind.unsupported() == "confined"
    kind.watch(lambda keys: None)
    kind.hold([NAME])
    kind.close()
