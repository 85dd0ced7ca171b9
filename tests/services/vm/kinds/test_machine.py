from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from common.errors import NotFound, WrongState
from common.manager import Action, Change
from nixcc.vm.v1 import machine_pb2 as pb
from nixcc.vm.v1 import network_pb2
from services.vm.drivers.base import HOTPLUG, VmDriver
from services.vm.drivers.memory import MemoryVmDriver
from services.vm.kinds.machine import VirtualMachineKind
from services.vm.kinds.network import VirtualNetworkKind
from services.vm.models import State
from vm_kinds import MIB, admitted, converge, delete, differing, look, report, violations


@pytest.fixture
def kind(driver: VmDriver) -> VirtualMachineKind:
    return VirtualMachineKind(driver)


def small(**fields: Any) -> pb.VirtualMachine:
    """A machine that runs anywhere and stops at once."""
    given = {
        "cpus": 1,
        "memory": 64 * MIB,
        "accelerator": pb.ACCELERATOR_TCG,
        "shutdown_timeout": 0,
        **fields,
    }
    return pb.VirtualMachine(**given)


def edit(driver: VmDriver, name: str, change: Any) -> None:
    """Changes the stored definition behind the kind's back."""
    machine = driver.machines.get(name)
    assert machine is not None
    root = ET.fromstring(machine.stored)
    change(root)
    driver.machines.define(ET.tostring(root, encoding="unicode"))


def test_a_minimal_manifest_makes_a_running_machine(kind: VirtualMachineKind) -> None:
    applied = converge(kind, "web", small(running=True))
    assert applied.changed
    seen = look(kind, "web")
    assert (seen.spec.running, seen.spec.cpus, seen.spec.memory) == (True, 1, 64 * MIB)
    assert "web" in kind.enumerate()
    assert not seen.unhealthy


def test_every_field_comes_back_as_it_was_asked_for(
    kind: VirtualMachineKind, driver: VmDriver, tmp_path: Path
) -> None:
    converge(
        VirtualNetworkKind(driver),
        "lab",
        network_pb2.VirtualNetwork(mode=network_pb2.NETWORK_MODE_ISOLATED, running=True),
    )
    converge(
        kind,
        "web",
        small(
            max_cpus=2,
            max_memory=128 * MIB,
            firmware=pb.FIRMWARE_BIOS,
            machine_type="q35",
            running=True,
            autostart=True,
            disks=[
                pb.Disk(target="vda", path=f"{tmp_path}/a.qcow2", size=64 * MIB),
                pb.Disk(
                    target="sdb",
                    path=f"{tmp_path}/b.raw",
                    size=MIB,
                    format=pb.DISK_FORMAT_RAW,
                    read_only=False,
                ),
                pb.Disk(target="sdc", device=pb.DISK_DEVICE_CDROM),
            ],
            interfaces=[
                pb.Interface(name="lan", network="lab", mac="52:54:00:AB:cd:01"),
                pb.Interface(name="out", user=True, model="e1000"),
            ],
            graphics=pb.Graphics(type=pb.GRAPHICS_TYPE_VNC, port=0),
            boot=pb.Boot(order=[pb.BOOT_DEVICE_CDROM, pb.BOOT_DEVICE_HD]),
            cloud_init=pb.CloudInit(
                user_data="#cloud-config\n{}\n", meta_data="instance-id: a\n", network_config="x"
            ),
            serial_console=True,
            labels={"tier": '<web> & "more"', "a/b": ""},
            delete_disks=True,
        ),
    )
    seen = look(kind, "web")
    assert seen.spec.disks[0].format == pb.DISK_FORMAT_QCOW2
    assert seen.spec.interfaces[0].mac == "52:54:00:ab:cd:01"
    assert "#cloud-config" not in str(seen)


@pytest.mark.parametrize(
    "drift",
    [
        lambda d: d.machines.destroy("web"),
        lambda d: (d.machines.destroy("web"), d.machines.undefine("web")),
        lambda d: d.machines.set_autostart("web", False),
        lambda d: edit(d, "web", lambda r: r.find("vcpu").__setattr__("text", "3")),
        lambda d: edit(d, "web", lambda r: r.find("metadata").clear()),
        lambda d: edit(d, "web", lambda r: r.find("devices").remove(r.find("devices/interface"))),
    ],
    ids=["destroyed", "undefined", "autostart", "cpus", "metadata", "interface"],
)
def test_what_drifts_is_put_back(kind: VirtualMachineKind, driver: VmDriver, drift: Any) -> None:
    spec = small(
        running=True, autostart=True, labels={"a": "b"}, interfaces=[pb.Interface(name="out", user=True)]
    )
    converge(kind, "web", spec)
    drift(driver)
    desired, _ = admitted(kind, "web", spec)
    seen = look(kind, "web")
    assert seen is None or differing(desired, seen), "the drift was not seen"
    assert converge(kind, "web", spec).changed


def test_one_undefined_while_it_runs_is_stored_again(kind: VirtualMachineKind, driver: VmDriver) -> None:
    if isinstance(driver, MemoryVmDriver):
        pytest.skip("its machines are always stored")
    spec = small(running=True)
    converge(kind, "web", spec)
    driver.machines.undefine("web")
    assert converge(kind, "web", spec).changed
    machine = driver.machines.get("web")
    assert machine is not None
    assert (machine.persistent, machine.active) == (True, True)


def test_what_the_spec_cannot_say_survives(kind: VirtualMachineKind, driver: VmDriver) -> None:
    converge(kind, "web", small())

    def strangers(root: ET.Element) -> None:
        ET.SubElement(root, "title").text = "kept"
        ET.SubElement(root.find("metadata"), "{urn:somebody}note").text = "theirs"
        watchdog = ET.SubElement(root.find("devices"), "watchdog")
        watchdog.set("model", "i6300esb")
        network = ET.SubElement(root.find("devices"), "disk", {"type": "network", "device": "disk"})
        ET.SubElement(network, "driver", {"name": "qemu", "type": "raw"})
        source = ET.SubElement(network, "source", {"protocol": "nbd", "name": "x"})
        ET.SubElement(source, "host", {"name": "127.0.0.1", "port": "10809"})
        ET.SubElement(network, "target", {"dev": "vdz", "bus": "virtio"})

    edit(driver, "web", strangers)
    converge(kind, "web", small(cpus=2, labels={"a": "b"}, interfaces=[pb.Interface(name="out", user=True)]))
    machine = driver.machines.get("web")
    assert machine is not None
    root = ET.fromstring(machine.stored)
    assert root.findtext("title") == "kept"
    assert root.findtext("metadata/{urn:somebody}note") == "theirs"
    assert root.find("devices/watchdog") is not None
    assert [d.get("type") for d in root.iterfind("devices/disk")] == ["network"]


def test_unset_fields_are_left_alone(kind: VirtualMachineKind) -> None:
    converge(kind, "web", small(cpus=3, running=True, autostart=True))
    converge(kind, "web", pb.VirtualMachine(memory=64 * MIB))
    seen = look(kind, "web").spec
    assert (seen.cpus, seen.running, seen.autostart) == (3, True, True)


def test_live_changes_happen_at_once_others_wait(kind: VirtualMachineKind, driver: VmDriver) -> None:
    spec = small(cpus=1, max_cpus=2, memory=128 * MIB, max_memory=128 * MIB, running=True)
    converge(kind, "web", spec)
    spec.cpus = 2
    spec.labels["a"] = "b"
    applied = converge(kind, "web", spec)
    assert "cpus" not in applied.pending
    spec.max_cpus = 4
    spec.cpus = 3
    applied = converge(kind, "web", spec)
    assert {"cpus", "max_cpus"} <= set(applied.pending)
    assert {"cpus", "max_cpus"} <= set(look(kind, "web").pending)
    spec.running = False
    converge(kind, "web", spec)
    spec.running = True
    converge(kind, "web", spec)
    assert "cpus" not in look(kind, "web").pending


def test_devices_are_attached_live_where_the_hypervisor_can(
    kind: VirtualMachineKind, driver: VmDriver, tmp_path: Path
) -> None:
    spec = small(running=True)
    converge(kind, "web", spec)
    spec.disks.add(target="vdb", path=f"{tmp_path}/b.qcow2", size=MIB)
    spec.interfaces.add(name="out", user=True)
    applied = converge(kind, "web", spec)
    if HOTPLUG in driver.capabilities:
        assert not applied.pending
    else:
        assert set(applied.pending) == {"disks[vdb]", "interfaces[out]"}


def test_images_are_made_grown_and_never_shrunk(
    kind: VirtualMachineKind, driver: VmDriver, tmp_path: Path
) -> None:
    base, top = f"{tmp_path}/base.qcow2", f"{tmp_path}/top.qcow2"
    converge(kind, "base", small(disks=[pb.Disk(target="vda", path=base, size=4 * MIB)]))
    spec = small(running=True, disks=[pb.Disk(target="vda", path=top, backing=base, size=8 * MIB)])
    converge(kind, "web", spec)
    assert look(kind, "web").spec.disks[0].backing == base
    spec.disks[0].size = 16 * MIB
    converge(kind, "web", spec)
    spec.running = False
    spec.disks[0].size = 32 * MIB
    converge(kind, "web", spec)
    assert look(kind, "web").spec.disks[0].size == 32 * MIB
    spec.disks[0].size = MIB
    desired, _ = admitted(kind, "web", spec)
    with pytest.raises(WrongState, match="can't shrink"):
        kind.apply(Change("web", Action.UPDATE, desired, None), report)
    assert look(kind, "web").spec.disks[0].size == 32 * MIB


def test_an_image_that_is_missing_is_told_or_made_again(
    kind: VirtualMachineKind, driver: VmDriver, tmp_path: Path
) -> None:
    if driver.images is None:
        pytest.skip("the test driver has no images")
    path = f"{tmp_path}/a.qcow2"
    lost, _ = admitted(kind, "web", small(disks=[pb.Disk(target="vda", path=path)]))
    with pytest.raises(NotFound, match="there is no image"):
        kind.apply(Change("web", Action.CREATE, lost, None), report)
    assert look(kind, "web") is None
    spec = small(disks=[pb.Disk(target="vda", path=path, size=MIB)])
    converge(kind, "web", spec)
    driver.images.remove(path)
    assert "does not exist" in look(kind, "web").unhealthy
    converge(kind, "web", spec)
    assert not look(kind, "web").unhealthy


@pytest.mark.parametrize("delete_disks", [True, False])
def test_deleting_keeps_disks_unless_told_otherwise(
    kind: VirtualMachineKind, driver: VmDriver, tmp_path: Path, delete_disks: bool
) -> None:
    own, foreign = f"{tmp_path}/own.qcow2", f"{tmp_path}/foreign.qcow2"
    if driver.images is not None:
        driver.images.create(foreign, "qcow2", MIB, "")
    converge(
        kind,
        "web",
        small(
            running=True,
            delete_disks=delete_disks,
            disks=[pb.Disk(target="vda", path=own, size=MIB), pb.Disk(target="vdb", path=foreign)],
            cloud_init=pb.CloudInit(user_data="x"),
        ),
    )
    assert delete(kind, "web").changed
    assert not delete(kind, "web").changed
    if driver.images is not None:
        assert (driver.images.get(own) is None) == delete_disks
        assert driver.images.get(foreign) is not None
    if driver.seeds is not None:
        assert driver.seeds.read(driver.seeds.path("web")) is None


def test_a_seed_follows_its_sources(kind: VirtualMachineKind, driver: VmDriver, tmp_path: Path) -> None:
    spec = small(cloud_init=pb.CloudInit(user_data="one"))
    converge(kind, "web", spec)
    spec.cloud_init.user_data = "two"
    assert converge(kind, "web", spec).changed
    if driver.seeds is None:
        return
    path = driver.seeds.path("web")
    assert (driver.seeds.read(path) or {})["user-data"] == b"two"
    driver.seeds.write(path, {"user-data": b"edited", "meta-data": b""})
    assert converge(kind, "web", spec).changed
    assert (driver.seeds.read(path) or {})["user-data"] == b"two"
    driver.seeds.remove(path)
    assert converge(kind, "web", spec).changed
    if isinstance(driver, MemoryVmDriver):
        driver.seeds.host["/etc/user-data"] = b"of the host"
        source = "/etc/user-data"
    else:
        source = str(tmp_path / "user-data")
        Path(source).write_bytes(b"of the host")
    spec.cloud_init.ClearField("user_data")
    spec.cloud_init.user_data_path = source
    converge(kind, "web", spec)
    if isinstance(driver, MemoryVmDriver):
        driver.seeds.host[source] = b"changed"
    else:
        Path(source).write_bytes(b"changed")
    assert converge(kind, "web", spec).changed
    assert (driver.seeds.read(path) or {})["user-data"] == b"changed"


def test_a_paused_machine_is_neither_on_nor_off(kind: VirtualMachineKind, driver: VmDriver) -> None:
    if not isinstance(driver, MemoryVmDriver):
        pytest.skip("only the memory driver can pause")
    for running in (True, False):
        converge(kind, "web", small(running=True))
        driver.machines.pause("web")
        assert not look(kind, "web").spec.HasField("running")
        converge(kind, "web", small(running=running))
        machine = driver.machines.get("web")
        assert machine is not None
        assert machine.state is (State.RUNNING if running else State.OFF)


def test_hints_come_for_machines_changed_behind_its_back(kind: VirtualMachineKind, driver: VmDriver) -> None:
    converge(kind, "web", small(running=True))
    told = threading.Event()

    def emit(keys: Any) -> None:
        if "web" in keys:
            told.set()

    kind.watch(emit)
    try:
        kind.hold(["web"])
        driver.machines.destroy("web")
        assert told.wait(5)
        told.clear()
        driver.machines.undefine("web")
        assert told.wait(5)
    finally:
        kind.close()


def test_a_spec_that_makes_no_sense_is_refused(kind: VirtualMachineKind) -> None:
    disk = pb.Disk(target="vda", path="/a", size=MIB)
    cases: dict[str, pb.VirtualMachine] = {
        "memory": small(memory=MIB + 1),
        "max_memory": small(memory=2 * MIB, max_memory=MIB),
        "max_cpus": small(cpus=2, max_cpus=1),
        "cpus": small(cpus=0),
        "disks[0]": small(disks=[pb.Disk(target="vda", path="/a", volume="b")]),
        "disks[0].target": small(disks=[pb.Disk(target="../x", path="/a")]),
        "disks[0].path": small(disks=[pb.Disk(target="vda", path="a")]),
        "disks[1].target": small(disks=[disk, disk]),
        "disks[0].backing": small(disks=[pb.Disk(target="vda", path="/a", backing="/a")]),
        "interfaces[0]": small(interfaces=[pb.Interface(name="a")]),
        "interfaces[0].mac": small(interfaces=[pb.Interface(name="a", user=True, mac="01:00:00:00:00:00")]),
        "interfaces[0].name": small(interfaces=[pb.Interface(name="-rf", user=True)]),
        "boot.order": small(boot=pb.Boot(order=[pb.BOOT_DEVICE_HD, pb.BOOT_DEVICE_HD])),
        "direct_boot.kernel": small(direct_boot=pb.DirectBoot(command_line="x")),
        "cloud_init": small(cloud_init=pb.CloudInit(user_data="x", user_data_path="/x")),
        "labels[a\n]": small(labels={"a\n": "x"}),
    }
    for field, spec in cases.items():
        found = violations(kind, "web", spec)
        assert any(f == field or f.startswith("labels") for f in found), (field, found)


def test_a_machine_somebody_else_made_is_taken_as_it_is(kind: VirtualMachineKind, driver: VmDriver) -> None:
    host = (
        "kvm"
        if driver.name == "memory"
        else ("test" if "test" in driver.hypervisor().domain_types else "qemu")
    )
    driver.machines.define(
        f"<domain type='{host}'><name>old</name><memory unit='MiB'>256</memory><currentMemory unit='MiB'>128"
        "</currentMemory><vcpu>2</vcpu><os><type>hvm</type></os><devices><interface type='user'/></devices></domain>"
    )
    seen = look(kind, "old").spec
    assert (seen.cpus, seen.memory, seen.max_memory, seen.running) == (2, 128 * MIB, 256 * MIB, False)
    assert [i.name for i in seen.interfaces] == ["net0"]
    applied = converge(
        kind, "old", pb.VirtualMachine(memory=128 * MIB, interfaces=[pb.Interface(name="net0", user=True)])
    )
    assert applied is not None
    # Headroom that somebody left stays.
    converge(
        kind, "old", pb.VirtualMachine(memory=192 * MIB, interfaces=[pb.Interface(name="net0", user=True)])
    )
    assert look(kind, "old").spec.max_memory == 256 * MIB
