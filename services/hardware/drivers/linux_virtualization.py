"""Whether this is a virtual machine or a container; identifiers as systemd-detect-virt's."""

from __future__ import annotations

import os

from services.hardware.drivers.tree import Notes, Tree
from services.hardware.models.inventory import Virtualization

# CPUID leaf 0x40000000.
_CPUID = {
    b"KVMKVMKVM": "kvm",
    b"Linux KVM Hv": "kvm",
    b"TCGTCGTCGTCG": "qemu",
    b"VMwareVMware": "vmware",
    b"Microsoft Hv": "microsoft",
    b"XenVMMXenVMM": "xen",
    b"VBoxVBoxVBox": "oracle",
    b"bhyve bhyve ": "bhyve",
    b" lrpepyh vr": "parallels",
    b"QNXQVMBSQG": "qnx",
    b"ACRNACRNACRN": "acrn",
}
# How DMI strings begin, the more telling ones first.
_DMI = (
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Amazon EC2", "amazon"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VMW", "vmware"),
    ("innotek GmbH", "oracle"),
    ("VirtualBox", "oracle"),
    ("Oracle Corporation", "oracle"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Hyper-V", "microsoft"),
    ("Virtual Machine", "microsoft"),
    ("Apple Virtualization", "apple"),
    ("Google Compute Engine", "google"),
)
_CLOCKS = {"kvm-clock": "kvm", "hyperv_clocksource_tsc_page": "microsoft", "xen": "xen"}


def virtualization(tree: Tree, notes: Notes) -> Virtualization:
    """What is found; a real machine says `none` for both."""
    hypervisor = _hypervisor(tree)
    if hypervisor is None:
        notes.absent("virtualization.hypervisor", "neither CPUID, DMI nor the kernel's clock tell which one")
    return Virtualization(
        hypervisor=hypervisor, container=_container(tree), kvm_available=tree.exists("/dev/kvm")
    )


def _hypervisor(tree: Tree) -> str | None:
    """None: there is one, but it doesn't say which."""
    by_dmi = _by_dmi(tree)
    # Machines rented from a cloud run on KVM or Xen, which the name of the cloud tells better.
    if by_dmi in ("amazon", "google", "oracle"):
        return by_dmi
    by_cpuid = _by_cpuid(tree)
    if by_cpuid or by_dmi:
        return by_cpuid or by_dmi
    if (tree.text("/sys/hypervisor/type") or "") == "xen":
        return "xen"
    clocks = tree.text("/sys/devices/system/clocksource/clocksource0/available_clocksource") or ""
    for clock in clocks.split():
        if clock in _CLOCKS:
            return _CLOCKS[clock]
    cpuinfo = tree.text("/proc/cpuinfo") or ""
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    return None if "hypervisor" in flags else "none"


def _by_dmi(tree: Tree) -> str | None:
    for name in ("product_name", "sys_vendor", "board_vendor", "bios_vendor"):
        text = tree.text(f"/sys/class/dmi/id/{name}") or ""
        for prefix, identifier in _DMI:
            if text.startswith(prefix):
                return identifier
    return None


def _by_cpuid(tree: Tree) -> str | None:
    """From /dev/cpu/0/cpuid, which only root may read and only x86 has: offset is the leaf, the answer 16 bytes."""
    if not tree.live:
        return None
    try:
        descriptor = os.open(tree.at("/dev/cpu/0/cpuid"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not int.from_bytes(os.pread(descriptor, 16, 1)[8:12], "little") >> 31:
            return None
        signature = os.pread(descriptor, 16, 0x40000000)[4:16].rstrip(b"\0")
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return _CPUID.get(signature)


def _container(tree: Tree) -> str:
    """`/proc/1/environ` is left out: what started process 1 is not telling, and it may hold secrets."""
    if found := tree.text("/run/systemd/container"):
        return found
    if tree.exists("/run/.containerenv"):
        return "podman"
    if tree.exists("/.dockerenv"):
        return "docker"
    if "lxc" in (tree.text("/proc/1/cgroup") or ""):
        return "lxc"
    release = (tree.text("/proc/sys/kernel/osrelease") or "").lower()
    return "wsl" if "microsoft" in release else "none"
