from __future__ import annotations

from typing import Any

import pytest

from common import spec as specs
from common.errors import InvalidRequest, WrongState
from common.manager import Action, Change
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.memory_objects import MemorySwapDriver
from services.hardware.kinds.swap import SwapKind, swap_type
from services.hardware.models.states import SwapType

GIB = 1 << 30
KIND = SwapKind(MemorySwapDriver())


def _spec(**fields: Any) -> kinds_pb2.Swap:
    spec = kinds_pb2.Swap(**fields)
    specs.fill_defaults(spec)
    return spec


def _wrong(spec: kinds_pb2.Swap) -> list[str]:
    return [violation.field for violation in (*specs.violations(spec), *KIND.validate("swap", spec))]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/swapfile", SwapType.FILE),
        ("/dev/sda2", SwapType.PARTITION),
        ("UUID=abc", SwapType.PARTITION),
        ("/dev/zram0", SwapType.ZRAM),
        ("/dev/zramdisk", SwapType.PARTITION),
    ],
)
def test_what_a_path_stands_for(path: str, kind: SwapType) -> None:
    assert swap_type(path) is kind


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "/swapfile", "size": GIB, "priority": 5},
        {"path": "/swapfile", "size": GIB, "active": False},
        {"path": "LABEL=swap"},
        {"path": "/dev/zram0", "size": GIB, "algorithm": "zstd"},
    ],
)
def test_what_is_well(fields: dict[str, Any]) -> None:
    assert _wrong(_spec(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"size": GIB}, "path"),
        ({"path": "swapfile", "size": GIB}, "path"),
        ({"path": "/a/../swap", "size": GIB}, "path"),
        ({"path": "/swapfile"}, "size"),
        ({"path": "/swapfile", "size": 4096}, "size"),
        ({"path": "/swapfile", "size": GIB + 1}, "size"),
        ({"path": "/dev/sda2", "size": GIB}, "size"),
        ({"path": "/dev/zram0"}, "size"),
        ({"path": "/swapfile", "size": GIB, "algorithm": "zstd"}, "algorithm"),
        ({"path": "/swapfile", "size": GIB, "priority": 40000}, "priority"),
        ({"path": "/dev/sda2", "active": False}, "active"),
    ],
)
def test_what_is_wrong(fields: dict[str, Any], field: str) -> None:
    assert field in _wrong(_spec(**fields))


def test_detects_what_it_applied() -> None:
    kind = SwapKind(MemorySwapDriver(partitions={"/dev/sda2": GIB}))
    spec = _spec(path="/dev/zram0", size=GIB, priority=5)
    kind.apply(Change("/dev/zram0", Action.CREATE, spec, None), lambda text, percent: None)
    detected: Any = kind.detect(["/dev/zram0"])["/dev/zram0"]
    assert (detected.spec.size, detected.spec.priority, detected.spec.active) == (GIB, 5, True)
    assert detected.spec.algorithm == "lzo-rle"
    partition = _spec(path="/dev/sda2")
    kind.apply(Change("/dev/sda2", Action.CREATE, partition, None), lambda text, percent: None)
    detected = kind.detect(["/dev/sda2"])["/dev/sda2"]
    # A partition's size is not declared, so it is not compared.
    assert not detected.spec.HasField("size")
    with pytest.raises(WrongState, match="no swap signature"):
        kind.apply(
            Change("/dev/sdb", Action.CREATE, _spec(path="/dev/sdb"), None), lambda text, percent: None
        )
    kind.apply(Change("/dev/zram0", Action.DELETE, None, spec), lambda text, percent: None)
    assert kind.enumerate() == ["/dev/sda2"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"path": "/swapfile", "size": GIB, "priority": 5},
            {"swapDevices": [{"device": "/swapfile", "size": 1024, "priority": 5}]},
        ),
        ({"path": "LABEL=swap"}, {"swapDevices": [{"device": "/dev/disk/by-label/swap"}]}),
        (
            {"path": "/dev/zram0", "size": GIB, "algorithm": "zstd", "priority": 10},
            {
                "zramSwap": {
                    "enable": True,
                    "memoryMax": GIB,
                    "memoryPercent": 1000,
                    "swapDevices": 1,
                    "algorithm": "zstd",
                    "priority": 10,
                }
            },
        ),
    ],
)
def test_renders_options_of_nixos(fields: dict[str, Any], expected: dict[str, Any], nixos: Any) -> None:
    rendered = KIND.render("swap", _spec(**fields))
    assert rendered == expected
    nixos.check(rendered)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"path": "/dev/zram1", "size": GIB}, "path"),
        ({"path": "/swapfile", "size": GIB + 4096}, "size"),
        ({"path": "/swapfile", "size": GIB, "active": False}, "active"),
    ],
)
def test_says_what_nixos_can_not_keep(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        KIND.render("swap", _spec(**fields))
    assert [violation.field for violation in caught.value.violations] == [field]
