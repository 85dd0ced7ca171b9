"""Recorded machines, scanned as if they were this one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import Unsupported
from services.hardware.drivers.linux import LinuxHardwareDriver
from services.hardware.drivers.names import Names
from services.hardware.models.inventory import QUICK_PARTS, FirmwareType, Inventory, Part

Scan = Callable[[str], Inventory]


def _absent(inventory: Inventory) -> dict[str | None, str | None]:
    return {absence.fact: absence.reason for absence in inventory.absences}


def test_laptop_processor_memory_and_firmware(scan: Scan) -> None:
    found = scan("laptop")
    processor = found.processor
    assert processor is not None
    assert (processor.vendor, processor.model) == ("GenuineIntel", "12th Gen Intel(R) Core(TM) i7-1260P")
    assert (processor.sockets, processor.cores, processor.threads) == (1, 2, 3)
    assert (processor.family, processor.model_number, processor.stepping) == (6, 154, 3)
    assert processor.microcode == "0x430"
    assert processor.flags == ("fpu", "vmx", "aes", "avx2")
    assert (processor.governor, processor.frequency_driver) == ("performance,powersave", "intel_pstate")
    assert (processor.minimum_khz, processor.maximum_khz, processor.current_khz) == (400000, 4700000, 1800000)
    # Fast and slow cores have caches of their own sizes.
    assert [(c.level, c.type, c.size, c.instances) for c in processor.caches] == [
        (1, "Data", 32768, 1),
        (1, "Data", 49152, 1),
    ]
    assert processor.vulnerabilities[0].state == "Mitigation: Enhanced / Automatic IBRS"
    assert found.memory is not None
    assert found.memory.installed == 2 * 0x8000000
    assert found.memory.total == 16113888 * 1024
    machine = found.machine
    assert machine is not None
    assert (machine.vendor, machine.chassis, machine.serial) == ("LENOVO", "Notebook", "PF3XXXXX")
    assert (machine.firmware_type, machine.uefi_bits, machine.secure_boot) == (FirmwareType.UEFI, 64, True)
    assert (machine.tpm_version, machine.architecture) == ("2.0", "x86_64")
    assert found.virtualization is not None
    assert (found.virtualization.hypervisor, found.virtualization.container) == ("none", "none")
    assert found.virtualization.kvm_available is True
    assert _absent(found)["memory.modules"] == "the firmware has no SMBIOS table"


def test_laptop_buses_and_graphics(scan: Scan) -> None:
    found = scan("laptop")
    by_address = {device.address: device for device in found.pci_devices}
    nvidia = by_address["0000:01:00.0"]
    assert (nvidia.vendor, nvidia.product) == ("NVIDIA Corporation", "GA107M [GeForce RTX 3050 Mobile]")
    assert (nvidia.class_name, nvidia.parent, nvidia.driver) == ("3D controller", "0000:00:06.0", "nouveau")
    assert (nvidia.link_speed, nvidia.link_width) == ("8.0 GT/s PCIe", 8)
    assert (nvidia.maximum_link_speed, nvidia.maximum_link_width) == (None, None)
    nvme = by_address["0000:00:07.0"]
    assert (nvme.module, [child.name for child in nvme.children]) == ("nvme", ["nvme0"])
    assert [(gpu.pci_address, gpu.driver, gpu.nodes) for gpu in found.gpus] == [
        ("0000:00:02.0", "i915", ("card0", "renderD128")),
        ("0000:01:00.0", "nouveau", ()),
    ]
    assert found.gpus[0].boot_display is True
    assert [(c.name, c.status, c.modes) for c in found.gpus[0].connectors] == [
        ("HDMI-A-1", "disconnected", ()),
        ("eDP-1", "connected", ("1920x1200", "1280x800")),
    ]
    bluetooth = found.usb_devices[0]
    assert (bluetooth.vendor, bluetooth.product) == ("Intel Corp.", "AX211 Bluetooth")
    assert (bluetooth.speed, bluetooth.maximum_power) == (12.0, 100)
    assert bluetooth.interfaces[0].class_id == "e00101"


def test_laptop_storage(scan: Scan) -> None:
    found = scan("laptop")
    names = [device.name for device in found.block_devices]
    # Parents come before their children.
    assert names.index("nvme0n1") < names.index("nvme0n1p2") < names.index("cryptroot")
    disks = {device.name: device for device in found.block_devices}
    disk, esp, root = disks["nvme0n1"], disks["nvme0n1p1"], disks["cryptroot"]
    assert (disk.model, disk.serial, disk.revision) == ("Samsung SSD 980 1TB", "S64ANS0R111111X", "3B4QFXO7")
    assert (disk.transport, disk.wwn, disk.rotational) == ("nvme", "eui.002538b111111111", False)
    assert (disk.subsystems, disk.driver, disk.state) == ("block:nvme:pci", "nvme", "live")
    assert disk.table is not None
    assert (disk.table.type, disk.table.uuid) == ("gpt", "b1c2d3e4")
    assert disk.links == ("/dev/disk/by-id/nvme-Samsung_SSD_980_1TB",)
    assert esp.content is not None
    assert (esp.content.type, esp.content.label, esp.content.uuid) == ("vfat", "MY ESP", "ABCD-1234")
    assert esp.partition is not None
    assert (esp.partition.number, esp.partition.start, esp.partition.label) == (1, 2048, "esp")
    assert esp.partition.type_name == "EFI System"
    assert esp.mount_points == ("/boot",)
    assert (root.path, root.type, root.parents) == ("/dev/mapper/cryptroot", "crypt", ("nvme0n1p2",))
    assert disks["nvme0n1p2"].holders == ("dm-0",)
    assert disks["vg-swap"].type == "lvm"
    assert disks["vg-swap"].mount_points == ("[SWAP]",)
    assert [(f.mount_point, f.root, f.virtual) for f in found.file_systems][:3] == [
        ("/proc", "/", True),
        ("/", "/@", False),
        ("/home", "/@home", False),
    ]
    assert [(s.path, s.size) for s in found.swap_spaces] == [("/dev/dm-1", 8388604 * 1024)]
    assert "recorded" in (_absent(found)["file_systems.size"] or "")


def test_laptop_network_power_and_sensors(scan: Scan) -> None:
    found = scan("laptop")
    wireless = found.network_interfaces[0]
    assert (wireless.name, wireless.type, wireless.mac) == ("wlan0", "wireless", "a4:6b:b6:11:22:33")
    assert wireless.flags == ("broadcast", "multicast")
    assert wireless.enabled is True
    mains, battery = found.power_supplies
    assert (mains.type, mains.online) == ("Mains", True)
    assert (battery.percent, battery.cycles, battery.health) == (83, 120, 90.0)
    assert battery.energy == pytest.approx(61.76)
    assert battery.power == pytest.approx(8.0)
    assert [(s.chip, s.label, s.value, s.unit) for s in found.sensors] == [
        ("coretemp", "Package id 0", 51.0, "°C"),
        ("thinkpad", "fan1", 2600.0, "rpm"),
        ("x86_pkg_temp", "thermal_zone0", 51.0, "°C"),
    ]


def test_desktop(scan: Scan) -> None:
    found = scan("desktop")
    assert found.machine is not None
    # What the maker left to be filled in is not told.
    assert (found.machine.vendor, found.machine.product) == (None, "B550M Steel Legend")
    assert "secure_boot" in "".join(fact or "" for fact in _absent(found))
    gpu = found.gpus[0]
    assert (gpu.product, gpu.memory) == ("Navi 22 [Radeon RX 6700/6700 XT]", 12868124672)
    card = found.pci_devices[0]
    assert card.subsystem_vendor == "Sapphire Technology Limited"
    assert card.subsystem_product == "Sapphire Radeon RX 6700"
    assert [(r.type, r.start, r.size) for r in card.resources] == [
        ("memory", 0xFCF00000, 0x4000),
        ("ioport", 0xF000, 0x100),
    ]
    disks = {device.name: device for device in found.block_devices}
    sda = disks["sda"]
    assert (sda.vendor, sda.model, sda.revision, sda.serial) == (
        "ATA",
        "WDC WD40EFRX-68N",
        "0A82",
        "WD-WX123",
    )
    assert (sda.transport, sda.hctl, sda.wwn, sda.driver) == ("sata", "0:0:0:0", "0x50014ee2b1234567", "sd")
    assert sda.rotational is True
    assert disks["sda2"].links == ("/dev/disk/by-label/root",)
    assert disks["loop0"].backing_file == "/srv/images/disc.iso"
    # Without udev and without the devices themselves, the mounts still tell what is on them.
    assert disks["sda2"].content is not None
    assert disks["sda2"].content.type == "ext4"
    assert "block_devices[sda].content" in _absent(found)


def test_board(scan: Scan) -> None:
    found = scan("board")
    assert found.processor is not None
    assert (found.processor.vendor, found.processor.model) == ("ARM", "Cortex-A72")
    assert (found.processor.threads, found.processor.cores) == (2, None)
    assert found.processor.flags[0] == "fp"
    assert found.machine is not None
    assert found.machine.product == "Raspberry Pi 4 Model B Rev 1"
    assert found.machine.compatible == ("raspberrypi,4-model-b", "brcm,bcm2711")
    assert found.machine.firmware_type is FirmwareType.DEVICE_TREE
    assert [(gpu.platform_path, gpu.driver, gpu.nodes) for gpu in found.gpus] == [
        ("/gpu", "vc4-drm", ("card1",))
    ]
    card = found.block_devices[0]
    assert (card.name, card.transport, card.model, card.hotplug) == ("mmcblk0", "mmc", "SC32G", True)
    absent = _absent(found)
    assert absent["pci_devices"] == "the kernel knows no PCI bus"
    assert "usb_devices" in absent
    assert found.virtualization is not None
    assert found.virtualization.hypervisor == "none"


def test_an_empty_tree_is_all_absences_and_no_crash(tmp_path: Path, names: Names) -> None:
    driver = LinuxHardwareDriver(tmp_path, names)
    found = driver.scan(frozenset(Part))
    driver.close()
    assert found.block_devices == ()
    assert {"processor", "memory", "pci_devices", "file_systems", "smart_reports"} <= set(_absent(found))
    assert all(absence.reason for absence in found.absences)
    with pytest.raises(Unsupported):
        driver.watch_devices(lambda event: None)


def test_reads_only_the_parts_asked_for(recorded: Callable[[str], Path], names: Names) -> None:
    driver = LinuxHardwareDriver(recorded("laptop"), names)
    found = driver.scan(frozenset({Part.GPUS}))
    driver.close()
    assert found.gpus
    assert (found.pci_devices, found.processor, found.block_devices) == ((), None, ())
    assert [timing.part for timing in found.timings] == ["gpus"]


@pytest.mark.parametrize("bad", ["", "garbage", "-1", "0x", "\x00\xff", "9" * 40])
def test_a_lying_kernel_costs_facts_and_nothing_else(
    recorded: Callable[[str], Path], names: Names, bad: str
) -> None:
    """Every attribute in turn is something else than expected."""
    root = recorded("laptop")
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            path.write_text(bad)
    driver = LinuxHardwareDriver(root, names)
    found = driver.scan(QUICK_PARTS)
    driver.close()
    assert len(found.timings) == 11


def test_btrfs_hides_its_device_number_but_not_where_it_is_mounted(scan: Scan) -> None:
    disks = {device.name: device for device in scan("laptop").block_devices}
    assert disks["cryptroot"].mount_points == ("/", "/home")
