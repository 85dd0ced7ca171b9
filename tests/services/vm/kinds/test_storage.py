from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import HostUnavailable, InvalidRequest, NotFound, WrongState
from common.manager import Action, Change
from nixcc.vm.v1 import machine_pb2
from nixcc.vm.v1 import storage_pb2 as pb
from services.vm.drivers.base import RESIZE_VOLUME, VmDriver
from services.vm.kinds.machine import VirtualMachineKind
from services.vm.kinds.pool import StoragePoolKind
from services.vm.kinds.volume import StorageVolumeKind
from vm_kinds import MIB, admitted, converge, delete, look, report, violations


@pytest.fixture
def pools(driver: VmDriver) -> StoragePoolKind:
    return StoragePoolKind(driver)


@pytest.fixture
def volumes(driver: VmDriver) -> StorageVolumeKind:
    return StorageVolumeKind(driver)


@pytest.fixture
def images(pools: StoragePoolKind, tmp_path: Path) -> pb.StoragePool:
    """A pool that is in use."""
    spec = pb.StoragePool(
        type=pb.POOL_TYPE_DIRECTORY, path=f"{tmp_path}/images", running=True, autostart=True
    )
    converge(pools, "images", spec)
    return spec


def data(**fields: Any) -> pb.StorageVolume:
    given: dict[str, Any] = {"pool": "images", "capacity": MIB, "format": pb.VOLUME_FORMAT_QCOW2, **fields}
    return pb.StorageVolume(**given)


def test_a_pool_is_kept(pools: StoragePoolKind, images: pb.StoragePool, driver: VmDriver) -> None:
    assert "images" in pools.enumerate()
    driver.storage.stop_pool("images")
    assert converge(pools, "images", images).changed
    driver.storage.set_pool_autostart("images", False)
    assert converge(pools, "images", images).changed
    driver.storage.stop_pool("images")
    driver.storage.undefine_pool("images")
    assert converge(pools, "images", images).changed


def test_a_pool_elsewhere_is_another_pool(
    pools: StoragePoolKind,
    volumes: StorageVolumeKind,
    images: pb.StoragePool,
    tmp_path: Path,
    driver: VmDriver,
) -> None:
    converge(volumes, "data.qcow2", data())
    images.path = f"{tmp_path}/others"
    converge(pools, "images", images)
    assert look(pools, "images").spec.path == f"{tmp_path}/others"
    delete(pools, "images")
    if driver.images is not None and driver.name != "memory":
        assert (tmp_path / "images/data.qcow2").exists(), "a pool's files stay"


def test_a_volume_is_kept(volumes: StorageVolumeKind, images: pb.StoragePool, driver: VmDriver) -> None:
    spec = data()
    converge(volumes, "data.qcow2", spec)
    assert volumes.enumerate() == ["images/data.qcow2"]
    driver.storage.delete_volume("images", "data.qcow2")
    assert converge(volumes, "data.qcow2", spec).changed
    if RESIZE_VOLUME in driver.capabilities:
        spec.capacity = 2 * MIB
        assert converge(volumes, "data.qcow2", spec).changed
    spec.capacity = 512
    desired, key = admitted(volumes, "data.qcow2", spec)
    with pytest.raises(WrongState, match="can't shrink"):
        volumes.apply(Change(key, Action.UPDATE, desired, None), report)
    assert delete(volumes, key).changed
    assert not delete(volumes, key).changed


def test_a_volume_is_only_replaced_when_that_was_allowed(
    volumes: StorageVolumeKind, images: pb.StoragePool
) -> None:
    converge(volumes, "data", data())
    spec = data(format=pb.VOLUME_FORMAT_RAW)
    desired, key = admitted(volumes, "data", spec)
    with pytest.raises(WrongState, match="deleted with what is in it"):
        volumes.apply(Change(key, Action.REPLACE, desired, None), report)
    assert look(volumes, key).spec.format == pb.VOLUME_FORMAT_QCOW2
    spec.allow_replace = True
    converge(volumes, "data", spec)
    assert look(volumes, key).spec.format == pb.VOLUME_FORMAT_RAW


def test_volumes_of_a_pool_out_of_use_cannot_be_told(
    volumes: StorageVolumeKind, images: pb.StoragePool, driver: VmDriver
) -> None:
    converge(volumes, "data", data())
    driver.storage.stop_pool("images")
    assert isinstance(look(volumes, "images/data"), HostUnavailable)
    assert look(volumes, "nowhere/data") is None
    desired, _ = admitted(volumes, "data", data(pool="nowhere"))
    with pytest.raises(NotFound, match="no storage pool nowhere"):
        volumes.apply(Change("nowhere/data", Action.CREATE, desired, None), report)


def test_a_machine_has_a_volume_as_its_disk(
    volumes: StorageVolumeKind, images: pb.StoragePool, driver: VmDriver
) -> None:
    converge(volumes, "data.qcow2", data())
    machines = VirtualMachineKind(driver)
    spec = machine_pb2.VirtualMachine(
        memory=64 * MIB,
        accelerator=machine_pb2.ACCELERATOR_TCG,
        shutdown_timeout=0,
        running=True,
        disks=[machine_pb2.Disk(target="vda", volume="data.qcow2")],
    )
    converge(machines, "web", spec)
    seen = look(machines, "web")
    assert (seen.spec.disks[0].pool, seen.spec.disks[0].format) == ("images", machine_pb2.DISK_FORMAT_QCOW2)
    assert not seen.pending
    spec.disks[0].volume = "other"
    desired, _ = admitted(machines, "web", spec)
    with pytest.raises(NotFound, match="no storage pool in use has a volume other"):
        machines.apply(Change("web", Action.UPDATE, desired, None), report)


def test_a_volume_needs_a_size(volumes: StorageVolumeKind, images: pb.StoragePool) -> None:
    desired, key = admitted(volumes, "data", pb.StorageVolume(pool="images"))
    with pytest.raises(InvalidRequest, match="capacity"):
        volumes.apply(Change(key, Action.CREATE, desired, None), report)


def test_hints_come_for_the_volumes_of_a_pool(
    volumes: StorageVolumeKind, images: pb.StoragePool, driver: VmDriver
) -> None:
    import threading

    told = threading.Event()
    volumes.watch(lambda keys: told.set() if list(keys) == ["images/data"] else None)
    volumes.hold(["images/data", "others/data"])
    driver.storage.stop_pool("images")
    assert told.wait(5)
    volumes.drop(["images/data"])
    volumes.close()


def test_a_spec_that_makes_no_sense_is_refused(pools: StoragePoolKind, volumes: StorageVolumeKind) -> None:
    assert violations(pools, "p", pb.StoragePool()) == ["path"]
    assert violations(pools, "p", pb.StoragePool(path="/a/../b")) == ["path"]
    assert violations(pools, "p", pb.StoragePool(path="/a", type=pb.POOL_TYPE_NETWORK)) == ["source", "host"]
    assert violations(pools, "p", pb.StoragePool(path="/a", host="x")) == ["host"]
    assert violations(volumes, "v", data(capacity=1000)) == ["capacity"]
    assert violations(volumes, "v", data(location="else/where")) == ["location"]
    assert violations(volumes, "v", data(format=pb.VOLUME_FORMAT_RAW, backing="/x")) == ["backing"]
