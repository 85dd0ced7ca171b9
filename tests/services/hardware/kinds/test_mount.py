from __future__ import annotations

from typing import Any

import pytest

from common import spec as specs
from common.manager import Action, Change, Enumerable, Renderable, Watchable
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.memory_objects import MemoryMountDriver
from services.hardware.kinds.mount import MountKind
from services.hardware.models.states import MountState

KIND = MountKind(MemoryMountDriver())


def _spec(options: list[str] | None = None, **fields: Any) -> kinds_pb2.Mount:
    spec = kinds_pb2.Mount(**{"mount_point": "/data", "source": "UUID=abc", "fs_type": "ext4", **fields})
    if options is not None:
        spec.options.values.extend(options)
        spec.options.SetInParent()
    specs.fill_defaults(spec)
    return spec


def _wrong(spec: kinds_pb2.Mount) -> list[str]:
    return [violation.field for violation in (*specs.violations(spec), *KIND.validate("data", spec))]


def test_what_is_well() -> None:
    assert isinstance(KIND, Enumerable)
    assert isinstance(KIND, Watchable)
    assert isinstance(KIND, Renderable)
    spec = _spec(["noatime", "rw", "defaults", "loop", "noatime"])
    assert _wrong(spec) == []
    # What says nothing is dropped, so that it is not seen as a difference.
    assert list(spec.options.values) == ["noatime"]
    for source in ("/dev/sdb1", "LABEL=my disk", "host:/export", "//server/share", "tmpfs", "/srv/disk.img"):
        assert _wrong(_spec(source=source)) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (_spec(mount_point="data"), "mount_point"),
        (_spec(mount_point="/data/"), "mount_point"),
        (_spec(mount_point="/a/../b"), "mount_point"),
        (_spec(mount_point="/a\0b"), "mount_point"),
        (kinds_pb2.Mount(mount_point="/data"), "source"),
        (_spec(source="-rf"), "source"),
        (_spec(source="NAME=x"), "source"),
        (_spec(source="UUID="), "source"),
        (_spec(source="tmpfs", options=["bind"]), "source"),
        (_spec(fs_type="ext4 -o x"), "fs_type"),
        (_spec(["ro", "rw"]), "options.values"),
        (_spec(["remount"]), "options.values"),
        (_spec(["a,b"]), "options.values[0]"),
    ],
)
def test_what_is_wrong(spec: kinds_pb2.Mount, field: str) -> None:
    assert field in _wrong(spec)


def test_detects_what_it_applied_and_hints() -> None:
    driver = MemoryMountDriver(busy=("/busy",))
    kind = MountKind(driver)
    hints: list[Any] = []
    kind.watch(hints.append)
    spec = _spec(["noatime"])
    assert kind.detect(["/data"]) == {"/data": None}
    applied = kind.apply(Change("/data", Action.CREATE, spec, None), lambda text, percent: None)
    assert applied.changed
    detected: Any = kind.detect(["/data"])["/data"]
    assert detected.spec.source == "UUID=abc"
    assert list(detected.spec.options.values) == ["noatime"]
    assert not kind.apply(Change("/data", Action.UPDATE, spec, spec), lambda text, percent: None).changed
    assert kind.enumerate() == ["/data"]
    assert kind.apply(Change("/data", Action.DELETE, None, spec), lambda text, percent: None).changed
    assert kind.detect(["/data"]) == {"/data": None}
    assert hints == [("/data",), ("/data",)]
    driver.mounts["/x"] = MountState("/x", "tmpfs", "tmpfs", ())


def test_a_confined_service_can_not() -> None:
    kind = MountKind(MemoryMountDriver(), "it can't be kept within /tmp/x")
    assert "/tmp/x" in kind.unsupported()
    assert kind.enumerate() == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            _spec(["noatime"], needed_for_boot=True),
            {
                "device": "/dev/disk/by-uuid/abc",
                "fsType": "ext4",
                "options": ["noatime"],
                "neededForBoot": True,
            },
        ),
        (
            _spec(source="PARTLABEL=root", fs_type=""),
            {"device": "/dev/disk/by-partlabel/root", "fsType": "auto"},
        ),
        (
            _spec(["bind"], source="/srv", fs_type=""),
            {"device": "/srv", "fsType": "none", "options": ["bind"]},
        ),
        (
            _spec(source="/srv/disk.img"),
            {"device": "/srv/disk.img", "fsType": "ext4", "options": ["loop"]},
        ),
        (_spec(source="tmpfs", fs_type="tmpfs"), {"device": "tmpfs", "fsType": "tmpfs"}),
        (_spec(source="//nas/x", fs_type="cifs"), {"device": "//nas/x", "fsType": "cifs"}),
    ],
)
def test_renders_options_of_nixos(spec: kinds_pb2.Mount, expected: dict[str, Any], nixos: Any) -> None:
    rendered = KIND.render("data", spec)
    assert rendered == {"fileSystems": {"/data": expected}}
    nixos.check(rendered)
