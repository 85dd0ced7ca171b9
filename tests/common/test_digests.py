"""Digests of write-only fields."""

from __future__ import annotations

import copy
from hashlib import sha256
from typing import Any

from common.digests import digest, digests, without_write_only
from spec_types import all_sorts

CLASSES = all_sorts()
Box = CLASSES["Box"]


def sample() -> Any:
    return Box(
        id="i",
        script="rün",
        certificates=[b"a", b"b"],
        net={"psk": "p", "inner": {"psk": "q", "mtu": 1}},
        steps=[{"mtu": 1}, {"psk": "r"}],
        disks=[{"target": "b"}, {"target": "a.b", "key": "k"}],
    )


def test_a_string_is_digested_as_utf8_bytes_as_they_are() -> None:
    assert digest(sample(), "script") == sha256("rün".encode()).digest()
    assert digest(Box(raw=b"\xff"), "raw") == sha256(b"\xff").digest()


def test_anything_else_as_the_deterministic_serialisation_of_it_alone() -> None:
    alone = Box(certificates=[b"a", b"b"]).SerializeToString(deterministic=True)
    assert digest(sample(), "certificates") == sha256(alone).digest()
    assert digest(Box(mode=7, id="x"), "mode") == sha256(Box(mode=7).SerializeToString()).digest()
    net = CLASSES["Net"](psk="p", inner={"psk": "q", "mtu": 1}).SerializeToString(deterministic=True)
    assert digest(sample(), "net") == sha256(net).digest()
    one, other = Box(id="a"), Box(id="b")
    one.labels.update({"x": "1", "y": "2"})
    other.labels.update({"y": "2", "x": "1"})
    assert digest(one, "labels") == digest(other, "labels")


def test_all_are_found_by_the_diffs_paths() -> None:
    assert {path: value.hex() for path, value in digests(sample()).items()} == {
        "script": sha256("rün".encode()).hexdigest(),
        "certificates": digest(sample(), "certificates").hex(),
        "disks[a.b].key": sha256(b"k").hexdigest(),
        "steps[1].psk": sha256(b"r").hexdigest(),
        "net.psk": sha256(b"p").hexdigest(),
        "net.inner.psk": sha256(b"q").hexdigest(),
    }
    assert digests(Box()) == {}
    assert set(digests(Box(script=""))) == {"script"}


def test_what_is_left_is_what_a_host_can_tell() -> None:
    message = sample()
    before = copy.deepcopy(message)
    without_write_only(message)
    assert digests(message) == {}
    assert message == Box(
        id="i",
        net={"inner": {"mtu": 1}},
        steps=[{"mtu": 1}, {}],
        disks=[{"target": "b"}, {"target": "a.b"}],
    )
    assert before == sample()
