from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from services.hardware.models.devices import Gpu
from services.hardware.models.inventory import Inventory, Machine, Processor, Virtualization
from services.hardware.models.storage import BlockDevice
from services.hardware.recommendations import as_options, recommend

Scan = Callable[[str], Inventory]


def _values(inventory: Inventory) -> dict[str, Any]:
    return {setting.option: setting.value for setting in recommend(inventory)}


def test_a_laptop(scan: Scan) -> None:
    found = _values(scan("laptop"))
    assert found["nixpkgs.hostPlatform"] == "x86_64-linux"
    assert found["hardware.cpu.intel.updateMicrocode"] is True
    assert found["hardware.enableRedistributableFirmware"] is True
    assert found["boot.kernelModules"] == ["kvm-intel"]
    assert found["powerManagement.cpuFreqGovernor"] == "powersave"
    assert found["boot.initrd.availableKernelModules"] == ["nvme"]
    assert found["boot.initrd.kernelModules"] == ["dm-snapshot"]
    assert found["boot.loader.systemd-boot.enable"] is True
    assert found["hardware.bluetooth.enable"] is True
    assert found["services.fstrim.enable"] is True
    assert found["services.upower.enable"] is True
    assert found["security.tpm2.enable"] is True
    assert found["services.xserver.videoDrivers"] == ["nvidia"]
    assert found["hardware.nvidia.open"] is True
    assert found["hardware.nvidia.prime.intelBusId"] == "PCI:0:2:0"
    assert found["hardware.nvidia.prime.nvidiaBusId"] == "PCI:1:0:0"
    assert found['fileSystems."/"'] == {
        "device": "/dev/mapper/cryptroot",
        "fsType": "btrfs",
        "options": ["subvol=/@"],
    }
    assert found['fileSystems."/home"']["options"] == ["subvol=/@home"]
    assert found['fileSystems."/boot"'] == {"device": "/dev/disk/by-uuid/ABCD-1234", "fsType": "vfat"}
    luks = "boot.initrd.luks.devices.cryptroot.device"
    assert found[luks] == "/dev/disk/by-uuid/1d2e3f40-5162-7384-95a6-b7c8d9e0f1a2"
    assert found["swapDevices"] == [{"device": "/dev/mapper/vg-swap"}]
    assert 'fileSystems."/tmp"' not in found
    assert 'fileSystems."/proc"' not in found


def test_a_desktop(scan: Scan) -> None:
    found = _values(scan("desktop"))
    assert found["hardware.cpu.amd.updateMicrocode"] is True
    assert found["boot.kernelModules"] == ["kvm-amd"]
    assert found["powerManagement.cpuFreqGovernor"] == "schedutil"
    assert found["boot.initrd.availableKernelModules"] == ["ahci", "sd_mod", "usbhid", "xhci_pci"]
    assert found["hardware.amdgpu.initrd.enable"] is True
    assert found["hardware.graphics.enable"] is True
    assert found["services.smartd.enable"] is True
    # It turns: nothing to trim.
    assert "services.fstrim.enable" not in found
    assert "services.xserver.videoDrivers" not in found
    assert found['fileSystems."/"'] == {"device": "/dev/disk/by-label/root", "fsType": "ext4"}
    assert found['fileSystems."/data"'] == {"device": "/srv/data", "fsType": "none", "options": ["bind"]}
    assert found['fileSystems."/iso"'] == {
        "device": "/srv/images/disc.iso",
        "fsType": "iso9660",
        "options": ["loop"],
    }


def test_a_board(scan: Scan) -> None:
    found = _values(scan("board"))
    assert found["nixpkgs.hostPlatform"] == "aarch64-linux"
    assert found["boot.loader.generic-extlinux-compatible.enable"] is True
    assert found["boot.loader.grub.enable"] is False
    assert found["boot.initrd.availableKernelModules"] == ["mmc_block"]
    assert found["services.fstrim.enable"] is True
    assert not any("microcode" in option.lower() for option in found)


@pytest.mark.parametrize("machine", ["laptop", "desktop", "board"])
def test_each_has_a_reason_and_is_an_option_of_nixos(scan: Scan, machine: str, nixos: Any) -> None:
    settings = recommend(scan(machine))
    assert all(setting.reason for setting in settings)
    assert [setting.path for setting in settings] == sorted(setting.path for setting in settings)
    for setting in settings:
        nixos.check(setting.value, *setting.path)
    options = as_options(settings)
    assert nixos.check(options) >= 8
    assert json.loads(json.dumps(options)) == options


def test_what_is_unfree_is_said_but_not_set(scan: Scan) -> None:
    settings = recommend(scan("laptop"))
    unfree = {setting.option for setting in settings if setting.unfree}
    assert "services.xserver.videoDrivers" in unfree
    options: Any = as_options(settings)
    assert "xserver" not in options["services"]
    assert "nvidia" not in options["hardware"]


@pytest.mark.parametrize(
    ("hypervisor", "option"),
    [
        ("oracle", "virtualisation.virtualbox.guest.enable"),
        ("vmware", "virtualisation.vmware.guest.enable"),
        ("microsoft", "virtualisation.hypervGuest.enable"),
        ("parallels", "hardware.parallels.enable"),
        ("kvm", "services.qemuGuest.enable"),
        ("qemu", "services.qemuGuest.enable"),
    ],
)
def test_guests(hypervisor: str, option: str, nixos: Any) -> None:
    inventory = Inventory(
        virtualization=Virtualization(hypervisor, "none"),
        processor=Processor(vendor="GenuineIntel"),
        machine=Machine(architecture="x86_64"),
    )
    settings = recommend(inventory)
    found = {setting.option for setting in settings}
    assert option in found
    # Microcode and firmware are the host's business.
    assert "hardware.cpu.intel.updateMicrocode" not in found
    assert "hardware.enableRedistributableFirmware" not in found
    for setting in settings:
        nixos.check(setting.value, *setting.path)


def test_a_container_gets_neither_boot_loader_nor_file_systems(scan: Scan) -> None:
    inventory = dataclasses.replace(scan("desktop"), virtualization=Virtualization("none", "docker"))
    found = _values(inventory)
    assert found["boot.isContainer"] is True
    assert not any(option.startswith(("fileSystems", "boot.loader")) for option in found)


def test_an_old_nvidia_card_takes_the_closed_module() -> None:
    settings = recommend(
        Inventory(gpus=(Gpu(vendor_id="10de", device_id="1b80", pci_address="0000:01:00.0"),))
    )
    assert {s.option: s.value for s in settings}["hardware.nvidia.open"] is False


def test_raid_and_bcache() -> None:
    found = _values(Inventory(block_devices=(BlockDevice(name="md0", type="raid1"),)))
    assert found == {"boot.swraid.enable": True}


def test_nothing_known_is_nothing_recommended() -> None:
    assert recommend(Inventory()) == ()
    assert as_options(()) == {}
