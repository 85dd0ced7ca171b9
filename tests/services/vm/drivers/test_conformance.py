"""What every driver does alike: names, states, errors, snapshots, statistics, events."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from common.errors import AlreadyExists, ControlError, InvalidRequest, NotFound, Unsupported, WrongState
from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.drivers.base import CONSOLE, HOTPLUG, VmDriver
from services.vm.kinds.machine import VirtualMachineKind
from services.vm.models import Event, State, Subject
from vm_kinds import MIB, converge


def make(driver: VmDriver, name: str = "web", **fields: Any) -> None:
    spec = pb.VirtualMachine(
        memory=64 * MIB, accelerator=pb.ACCELERATOR_TCG, shutdown_timeout=0, max_cpus=2, cpus=1, **fields
    )
    converge(VirtualMachineKind(driver), name, spec)


def test_it_answers_and_tells_what_it_is(driver: VmDriver) -> None:
    assert driver.error() == ""
    facts = driver.hypervisor()
    assert facts.cpus > 0
    assert facts.memory > 0
    assert facts.domain_types
    assert driver.hypervisor() == facts


def test_machines_are_read_one_by_one_and_together(driver: VmDriver) -> None:
    for number in range(6):
        make(driver, f"m{number}", running=number % 2 == 0, autostart=number == 3)
    names = [f"m{number}" for number in range(6)]
    assert [name for name in driver.machines.names() if name != "test"] == names
    together = driver.machines.get_many([*names, "none"])
    assert together["none"] is None
    for number, name in enumerate(names):
        alone = driver.machines.get(name)
        assert alone is not None
        assert alone == together[name]
        assert alone.active == (alone.state is State.RUNNING) == (number % 2 == 0)
        assert alone.autostart == (number == 3)
        assert alone.persistent


def test_machines_that_are_not_there_are_told(driver: VmDriver) -> None:
    machines = driver.machines
    assert machines.get("none") is None
    for call in (
        machines.start,
        machines.destroy,
        machines.shutdown,
        machines.reboot,
        machines.undefine,
        machines.snapshots,
    ):
        with pytest.raises(NotFound):
            call("none")
    with pytest.raises(NotFound):
        driver.networks.start("none")
    with pytest.raises(NotFound):
        driver.storage.volumes("none")
    assert driver.networks.get("none") is None
    assert driver.storage.pool("none") is None


def test_a_wrong_state_is_told(driver: VmDriver) -> None:
    make(driver, running=True)
    with pytest.raises(WrongState):
        driver.machines.start("web")
    driver.machines.destroy("web")
    for call in (driver.machines.destroy, driver.machines.reboot, driver.machines.reset):
        with pytest.raises(WrongState):
            call("web")


def test_definitions_that_are_none_are_refused(driver: VmDriver) -> None:
    if driver.name == "memory":
        pytest.skip("it keeps whatever it is given")
    for xml in ("", "<domain", "<domain type='nonsense'><name>x</name></domain>", "<network/>"):
        with pytest.raises(ControlError):
            driver.machines.define(xml)
    with pytest.raises((InvalidRequest, Unsupported)):
        driver.networks.define("<network><forward mode='nonsense'/><name>x</name></network>")


def test_the_running_machine_is_changed_apart_from_what_is_stored(driver: VmDriver) -> None:
    make(driver, running=True)
    before = driver.machines.get("web")
    driver.machines.set_cpus("web", 2)
    after = driver.machines.get("web")
    assert before is not None
    assert after is not None
    assert before.live != after.live
    assert before.stored == after.stored


def test_snapshots(driver: VmDriver, tmp_path: Path) -> None:
    make(driver, running=True, disks=[pb.Disk(target="vda", path=f"{tmp_path}/a.qcow2", size=MIB)])
    assert driver.machines.snapshots("web") == []
    driver.machines.create_snapshot("web", "<domainsnapshot><name>one</name></domainsnapshot>", False)
    driver.machines.create_snapshot("web", "<domainsnapshot><name>two</name></domainsnapshot>", False)
    if driver.name == "memory":
        with pytest.raises(AlreadyExists):
            driver.machines.create_snapshot("web", "<domainsnapshot><name>two</name></domainsnapshot>", False)
    found = {snapshot.name: snapshot for snapshot in driver.machines.snapshots("web")}
    assert (found["two"].parent, found["two"].current, found["two"].state) == ("one", True, State.RUNNING)
    driver.machines.destroy("web")
    driver.machines.revert_snapshot("web", "one")
    machine = driver.machines.get("web")
    assert machine is not None
    assert machine.active, "it ran when the snapshot was made"
    with pytest.raises(NotFound):
        driver.machines.revert_snapshot("web", "none")
    driver.machines.delete_snapshot("web", "one", True)
    assert driver.machines.snapshots("web") == []


def test_statistics(driver: VmDriver, tmp_path: Path) -> None:
    make(driver, running=True, disks=[pb.Disk(target="vda", path=f"{tmp_path}/a.qcow2", size=MIB)])
    make(driver, "off")
    running = {row.name: row for row in driver.machines.stats([])}
    assert running["web"].state is State.RUNNING
    assert running["web"].cpu_time_ns is not None
    assert "off" not in running
    assert [row.name for row in driver.machines.stats(["off", "web", "none"])] == ["off", "web"]
    if HOTPLUG in driver.capabilities:
        assert [disk.target for disk in running["web"].disks] == ["vda"]


def test_the_console(driver: VmDriver) -> None:
    make(driver, running=True)
    output, ended = bytearray(), threading.Event()
    if CONSOLE not in driver.capabilities:
        with pytest.raises(Unsupported):
            driver.machines.open_console("web", False, output.extend, lambda reason: None)
        return
    console = driver.machines.open_console("web", False, output.extend, lambda reason: ended.set())
    console.pause()
    console.resume()
    console.send(b"x")
    console.close()
    console.close()
    driver.machines.destroy("web")
    assert not ended.is_set(), "no callback comes after close"


def test_listeners_are_told_and_left_alone_again(driver: VmDriver) -> None:
    heard: list[Event] = []
    told = threading.Event()

    def listener(event: Event) -> None:
        heard.append(event)
        told.set()

    cancel = driver.subscribe(listener)
    make(driver)
    assert told.wait(5)
    assert Event(Subject.MACHINE, "web") in heard
    cancel()
    cancel()
    count = len(heard)
    driver.machines.start("web")
    driver.machines.destroy("web")
    assert len(heard) == count


def test_firmware_the_host_has_not_is_told_with_what_would_help(driver: VmDriver) -> None:
    if driver.hypervisor().uefi or "test" in driver.hypervisor().domain_types:
        make(driver, firmware=pb.FIRMWARE_UEFI)
        return
    with pytest.raises(Unsupported, match="ovmf"):
        make(driver, firmware=pb.FIRMWARE_UEFI, running=True)
