"""What NixOS should know about a machine: rules that turn an inventory into options, as nixos-generate-config does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from common.manager import JsonValue
from services.hardware.models.inventory import FirmwareType, Inventory
from services.hardware.storage_recommendations import storage

Path = tuple[str, ...]

# Drivers whose kernel module has another name.
_MODULES = {"xhci_hcd": "xhci_pci", "sd": "sd_mod", "sr": "sr_mod", "mmcblk": "mmc_block"}
_VIRTIO = ("virtio_net", "virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "9p", "9pnet_virtio")
_VIRTIO_EARLY = ("virtio_balloon", "virtio_console", "virtio_rng", "virtio_gpu")
_GUESTS: dict[str, Path] = {
    "oracle": ("virtualisation", "virtualbox", "guest", "enable"),
    "vmware": ("virtualisation", "vmware", "guest", "enable"),
    "microsoft": ("virtualisation", "hypervGuest", "enable"),
    "parallels": ("hardware", "parallels", "enable"),
}
_QEMU = {"qemu", "kvm", "bochs", "google"}
_PLATFORMS = {
    "x86_64": "x86_64-linux",
    "aarch64": "aarch64-linux",
    "riscv64": "riscv64-linux",
    "armv7l": "armv7l-linux",
}
# The first NVIDIA device whose kernel module exists as open source (Turing).
_OPEN_NVIDIA = 0x1E00


@dataclass(frozen=True, slots=True)
class Setting:
    """One option; lists of the same option are joined."""

    path: Path
    value: JsonValue
    reason: str
    unfree: bool = False

    @property
    def option(self) -> str:
        """As it is written in Nix: parts that are no plain words are quoted."""
        return ".".join(part if part.replace("-", "_").isidentifier() else f'"{part}"' for part in self.path)


def recommend(inventory: Inventory, *, file_systems: bool = True) -> tuple[Setting, ...]:
    """All that applies, one an option, sorted by it. What is not in the inventory is not considered."""
    settings: dict[Path, Setting] = {}
    for rule in _RULES:
        for setting in rule(inventory):
            settings[setting.path] = _joined(settings.get(setting.path), setting)
    if file_systems and not _in_container(inventory):
        for path, value, reason in storage(inventory):
            setting = Setting(path, value, reason)
            settings[path] = _joined(settings.get(path), setting)
    return tuple(settings[path] for path in sorted(settings))


def as_options(settings: Iterable[Setting]) -> dict[str, JsonValue]:
    """The same as one nested object; without what is unfree, which its owner must allow first."""
    options: dict[str, JsonValue] = {}
    for setting in settings:
        if setting.unfree:
            continue
        place = options
        for part in setting.path[:-1]:
            inner = place.setdefault(part, {})
            assert isinstance(inner, dict)  # no option is another one's prefix
            place = inner
        place[setting.path[-1]] = setting.value
    return options


def _joined(first: Setting | None, second: Setting) -> Setting:
    if first is None or not isinstance(first.value, list) or not isinstance(second.value, list):
        return first or second
    values = sorted({*first.value, *second.value}) if _plain(first.value) else [*first.value, *second.value]
    reasons = (
        first.reason if second.reason in first.reason.split("; ") else f"{first.reason}; {second.reason}"
    )
    return Setting(first.path, values, reasons, first.unfree or second.unfree)


def _plain(values: Sequence[JsonValue]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_real(inventory: Inventory) -> bool:
    """No virtual machine and no container, as far as is known."""
    found = inventory.virtualization
    return found is not None and found.hypervisor == "none" and found.container in (None, "none")


def _in_container(inventory: Inventory) -> bool:
    return inventory.virtualization is not None and inventory.virtualization.container not in (None, "none")


def _platform(inventory: Inventory) -> Iterator[Setting]:
    architecture = inventory.machine.architecture if inventory.machine else None
    if platform := _PLATFORMS.get(architecture or ""):
        yield Setting(("nixpkgs", "hostPlatform"), platform, f"the kernel runs on {architecture}")


def _microcode(inventory: Inventory) -> Iterator[Setting]:
    processor = inventory.processor
    if processor is None or not _is_real(inventory):
        return
    for vendor, name in (("GenuineIntel", "intel"), ("AuthenticAMD", "amd")):
        if processor.vendor == vendor:
            reason = f"{processor.model or vendor} runs microcode {processor.microcode or 'of its firmware'}"
            yield Setting(("hardware", "cpu", name, "updateMicrocode"), True, reason)


def _firmware(inventory: Inventory) -> Iterator[Setting]:
    if _is_real(inventory):
        reason = "a real machine: network, graphics and sound devices load firmware"
        yield Setting(("hardware", "enableRedistributableFirmware"), True, reason)


def _kvm(inventory: Inventory) -> Iterator[Setting]:
    flags = inventory.processor.flags if inventory.processor else ()
    for flag, module in (("vmx", "kvm-intel"), ("svm", "kvm-amd")):
        if flag in flags:
            yield Setting(
                ("boot", "kernelModules"), [module], f"the processor can host virtual machines ({flag})"
            )


def _governor(inventory: Inventory) -> Iterator[Setting]:
    processor = inventory.processor
    if processor is None or not _is_real(inventory):
        return
    path = ("powerManagement", "cpuFreqGovernor")
    driver = processor.frequency_driver or ""
    if driver in ("intel_pstate", "amd-pstate-epp") and "powersave" in processor.available_governors:
        yield Setting(path, "powersave", f"{driver} scales by itself under this governor")
        return
    for governor in ("schedutil", "ondemand", "powersave"):
        if governor in processor.available_governors:
            yield Setting(path, governor, f"the best that {driver or 'the kernel'} offers here")
            return


def _initrd(inventory: Inventory) -> Iterator[Setting]:
    """Controllers that the root disk or a keyboard may hang on."""
    path = ("boot", "initrd", "availableKernelModules")
    for device in inventory.pci_devices:
        code = device.class_id or ""
        if code.startswith(("01", "0c00", "0c03")) and device.driver:
            module = device.module or _module(device.driver)
            yield Setting(path, [module], f"{device.class_name or 'controller'} at {device.address}")
    for usb in inventory.usb_devices:
        for interface in usb.interfaces:
            code = interface.class_id or ""
            if interface.driver and (
                code.startswith("08") or (code.startswith("03") and code.endswith("01"))
            ):
                what = "USB storage" if code.startswith("08") else "USB keyboard"
                yield Setting(
                    path, [interface.module or _module(interface.driver)], f"{what} {usb.product or usb.path}"
                )
    for disk in inventory.block_devices:
        if disk.type in ("disk", "rom") and disk.driver:
            yield Setting(path, [_module(disk.driver)], f"disk {disk.name}")
        if disk.content and disk.content.type == "bcache":
            yield Setting(path, ["bcache"], f"{disk.name} is a part of a bcache")


def _module(driver: str) -> str:
    return _MODULES.get(driver, driver.replace("-", "_"))


def _guest(inventory: Inventory) -> Iterator[Setting]:
    found = inventory.virtualization
    if found is None:
        return
    if found.container not in (None, "none"):
        yield Setting(("boot", "isContainer"), True, f"runs in a container ({found.container})")
        return
    if guest := _GUESTS.get(found.hypervisor or ""):
        yield Setting(guest, True, f"a guest of {found.hypervisor}")
    if found.hypervisor in _QEMU:
        reason = f"a guest of {found.hypervisor}: its devices are virtio's"
        yield Setting(("services", "qemuGuest", "enable"), True, reason)
        yield Setting(("boot", "initrd", "availableKernelModules"), sorted(_VIRTIO), reason)
        yield Setting(("boot", "initrd", "kernelModules"), sorted(_VIRTIO_EARLY), reason)


def _graphics(inventory: Inventory) -> Iterator[Setting]:
    # Of Intel, AMD and NVIDIA, virtual cards left out.
    cards = [gpu for gpu in inventory.gpus if gpu.vendor_id in ("8086", "1002", "10de")]
    for gpu in cards:
        name = gpu.product or f"{gpu.vendor_id}:{gpu.device_id}"
        yield Setting(("hardware", "graphics", "enable"), True, f"graphics processor {name}")
        if gpu.vendor_id == "1002":
            reason = f"{name}: shows the console from the start of booting"
            yield Setting(("hardware", "amdgpu", "initrd", "enable"), True, reason)
        if gpu.vendor_id == "10de":
            newer = int(gpu.device_id or "0", 16) >= _OPEN_NVIDIA
            reason = f"{name} is fast with NVIDIA's own driver only"
            yield Setting(("services", "xserver", "videoDrivers"), ["nvidia"], reason, unfree=True)
            yield Setting(("hardware", "nvidia", "modesetting", "enable"), True, reason, unfree=True)
            kind = "Turing or newer: the open" if newer else "older than Turing: the closed"
            yield Setting(
                ("hardware", "nvidia", "open"), newer, f"{name} is {kind} kernel module fits", unfree=True
            )
    others = [gpu for gpu in cards if gpu.vendor_id != "10de" and gpu.pci_address]
    nvidia = [gpu for gpu in cards if gpu.vendor_id == "10de" and gpu.pci_address]
    if others and nvidia and any(supply.type == "Battery" for supply in inventory.power_supplies):
        reason = "a laptop with two graphics processors: the fast one sleeps until it is asked for"
        prime = ("hardware", "nvidia", "prime")
        first = "intelBusId" if others[0].vendor_id == "8086" else "amdgpuBusId"
        yield Setting((*prime, "offload", "enable"), True, reason, unfree=True)
        yield Setting((*prime, first), _bus_id(others[0].pci_address or ""), reason, unfree=True)
        yield Setting((*prime, "nvidiaBusId"), _bus_id(nvidia[0].pci_address or ""), reason, unfree=True)


def _bus_id(address: str) -> str:
    """`0000:01:00.0` as X and NixOS write it, in decimal: `PCI:1:0:0`."""
    _, bus, rest = address.split(":")
    device, _, function = rest.partition(".")
    return f"PCI:{int(bus, 16)}:{int(device, 16)}:{int(function, 16)}"


def _boot(inventory: Inventory) -> Iterator[Setting]:
    machine = inventory.machine
    if machine is None or _in_container(inventory):
        return
    loader = ("boot", "loader")
    if machine.firmware_type is FirmwareType.UEFI:
        yield Setting((*loader, "systemd-boot", "enable"), True, "starts by UEFI")
        yield Setting((*loader, "efi", "canTouchEfiVariables"), True, "starts by UEFI")
        if _is_real(inventory):
            yield Setting(
                ("services", "fwupd", "enable"), True, "UEFI firmware can be updated from the running system"
            )
    elif machine.firmware_type is FirmwareType.DEVICE_TREE:
        reason = "starts by a device tree"
        yield Setting((*loader, "grub", "enable"), False, reason)
        yield Setting((*loader, "generic-extlinux-compatible", "enable"), True, reason)
    if machine.tpm_version == "2.0":
        yield Setting(("security", "tpm2", "enable"), True, "a TPM 2.0 is there")


def _laptop(inventory: Inventory) -> Iterator[Setting]:
    batteries = [supply.name or "battery" for supply in inventory.power_supplies if supply.type == "Battery"]
    if not batteries:
        return
    yield Setting(("services", "upower", "enable"), True, f"runs from {', '.join(batteries)}")
    if inventory.processor and inventory.processor.vendor == "GenuineIntel" and _is_real(inventory):
        yield Setting(("services", "thermald", "enable"), True, "a laptop with an Intel processor")


def _wireless(inventory: Inventory) -> Iterator[Setting]:
    for usb in inventory.usb_devices:
        if any((interface.class_id or "") == "e00101" for interface in usb.interfaces):
            yield Setting(
                ("hardware", "bluetooth", "enable"), True, f"Bluetooth adapter {usb.product or usb.path}"
            )
            return


def _disks(inventory: Inventory) -> Iterator[Setting]:
    disks = [device for device in inventory.block_devices if device.type == "disk" and device.size]
    for disk in disks:
        if disk.queue and disk.queue.discard_maximum and disk.rotational is False and disk.transport:
            yield Setting(
                ("services", "fstrim", "enable"), True, f"{disk.name} is a solid-state disk that can discard"
            )
            break
    if _is_real(inventory) and any(disk.transport in ("sata", "nvme", "sas") for disk in disks):
        yield Setting(("services", "smartd", "enable"), True, "disks that can tell of their health")
    if any((device.type or "").startswith("raid") for device in inventory.block_devices):
        yield Setting(("boot", "swraid", "enable"), True, "disks are joined by the kernel's RAID")
    if any(device.type == "lvm" for device in inventory.block_devices):
        yield Setting(
            ("boot", "initrd", "kernelModules"), ["dm-snapshot"], "LVM volumes may have snapshots at boot"
        )


Rule = Callable[[Inventory], Iterator[Setting]]

_RULES: tuple[Rule, ...] = (
    _platform,
    _microcode,
    _firmware,
    _kvm,
    _governor,
    _initrd,
    _guest,
    _graphics,
    _boot,
    _laptop,
    _wireless,
    _disks,
)
