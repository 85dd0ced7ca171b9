"""Facts about the hypervisor and its host, out of libvirt's capabilities."""

from __future__ import annotations

from contextlib import suppress

import libvirt

from services.vm.drivers.libvirt_calls import Calls
from services.vm.models import Hypervisor
from services.vm.xml.tree import parse, text_of


def read_hypervisor(calls: Calls, uri: str) -> Hypervisor:
    """Asks libvirt. Domain types are those for machines of the host's own architecture, the fastest first."""
    with calls.connected("the hypervisor's facts can't be read") as connection:
        capabilities = parse(connection.getCapabilities())
        architecture = text_of(capabilities, "host/cpu/arch")
        types: list[str] = []
        for guest in capabilities.iterfind("guest"):
            arch = guest.find("arch")
            if arch is not None and (arch.get("name") == architecture or not types):
                mine = [d.get("type", "") for d in arch.iterfind("domain")]
                types = mine if arch.get("name") == architecture else types or mine
        types.sort(key=lambda name: name != "kvm")
        uefi = False
        with suppress(libvirt.libvirtError):
            # Only real hypervisors know their machines' firmware.
            offered = parse(connection.getDomainCapabilities(None, architecture, None, None))
            uefi = any(v.text == "efi" for v in offered.iterfind("os/enum[@name='firmware']/value"))
        model, memory, cpus, *_ = connection.getInfo()
        return Hypervisor(
            uri=uri,
            type=connection.getType(),
            version=_version(connection.getVersion()),
            libvirt_version=_version(connection.getLibVersion()),
            hostname=connection.getHostname(),
            architecture=architecture or model,
            cpus=cpus,
            memory=memory * 1024**2,
            domain_types=tuple(types),
            uefi=uefi,
        )


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
