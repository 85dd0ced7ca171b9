"""Network interfaces."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from services.hardware.drivers.ethtool import Ethtool
from services.hardware.drivers.names import Names
from services.hardware.drivers.tree import Notes, Tree
from services.hardware.models.devices import NetworkInterface

NET = "/sys/class/net"

# ARPHRD_* of linux/if_arp.h.
_TYPES = {
    1: "ethernet",
    32: "infiniband",
    512: "ppp",
    768: "ipip",
    769: "ip6tnl",
    772: "loopback",
    776: "sit",
    778: "gre",
    801: "wireless",
    65534: "none",
}
# What drivers without a device of their own call themselves, where that tells more than the kernel's type.
_SOFTWARE = {
    "veth",
    "tun",
    "ifb",
    "dummy",
    "vxlan",
    "macvlan",
    "macvtap",
    "ipvlan",
    "team",
    "netkit",
    "wireguard",
}
# IFF_* of linux/if.h.
_FLAGS = {0x2: "broadcast", 0x10: "point-to-point", 0x80: "noarp", 0x100: "promiscuous", 0x1000: "multicast"}
_UP = 0x1


def network_interfaces(tree: Tree, names: Names, notes: Notes) -> tuple[NetworkInterface, ...]:
    """All interfaces, by index. Addresses, permanent addresses and firmware are known of the running host only."""
    found = [name for name in tree.names(NET) if tree.exists(f"{NET}/{name}/ifindex")]
    if not tree.exists(NET):
        notes.absent("network_interfaces", f"{NET} can't be read")
    if not tree.live:
        notes.absent("network_interfaces.addresses", "a recorded tree does not tell addresses")
    with ExitStack() as stack:
        ethtool = stack.enter_context(Ethtool()) if tree.live else None
        addresses = _addresses() if tree.live else {}
        nouns = [_interface(tree, names, name, ethtool, addresses.get(name, ())) for name in found]
    return tuple(sorted(nouns, key=lambda noun: noun.index or 0))


def _interface(
    tree: Tree, names: Names, name: str, ethtool: Ethtool | None, addresses: Sequence[str]
) -> NetworkInterface:
    folder = f"{NET}/{name}"
    flags = tree.number(f"{folder}/flags", 16) or 0
    info = ethtool.driver(name) if ethtool else None
    link = ethtool.link(name) if ethtool else None
    driver = tree.link(f"{folder}/device/driver") or (info.driver if info else None) or None
    speed = tree.number(f"{folder}/speed")
    duplex = tree.text(f"{folder}/duplex")
    device = tree.real(f"{folder}/device") if tree.exists(f"{folder}/device") else None
    vendor, product = _card(tree, names, device)
    modes = link.modes if link else ()
    mac = tree.text(f"{folder}/address")
    return NetworkInterface(
        name=name,
        index=tree.number(f"{folder}/ifindex"),
        type=_type(tree, folder, info.driver if info else ""),
        physical=device is not None,
        mac=None if mac is None or not mac.strip("0:") else mac,
        permanent_mac=ethtool.permanent_address(name) if ethtool else None,
        mtu=tree.number(f"{folder}/mtu"),
        state=tree.text(f"{folder}/operstate"),
        enabled=bool(flags & _UP),
        carrier=tree.flag(f"{folder}/carrier"),
        speed=speed if speed is not None and speed > 0 else None,
        duplex=duplex if duplex in ("full", "half") else None,
        autonegotiation=link.autonegotiation if link else None,
        port=link.port if link else None,
        capacity=max((int(mode.split("base")[0]) for mode in modes), default=None),
        link_modes=modes,
        driver=driver,
        driver_version=(info.version if info else "") or None,
        firmware_version=(info.firmware if info else "") or None,
        bus_address=os.path.basename(device) if device else None,
        bus=tree.link(f"{device}/subsystem") if device else None,
        vendor=vendor,
        product=product,
        master=tree.link(f"{folder}/master"),
        flags=tuple(text for bit, text in _FLAGS.items() if flags & bit),
        addresses=tuple(addresses),
    )


def _type(tree: Tree, folder: str, driver: str) -> str | None:
    """The kernel's device type where it has one, else what its driver is, else its hardware type."""
    kind = tree.properties(f"{folder}/uevent").get("DEVTYPE")
    if kind == "wlan" or tree.exists(f"{folder}/wireless") or tree.exists(f"{folder}/phy80211"):
        return "wireless"
    if kind:
        return kind
    if tree.exists(f"{folder}/tun_flags"):
        return "tun"
    if driver in _SOFTWARE and not tree.exists(f"{folder}/device"):
        return driver
    # Its own interface is what it is stacked on, or it stands alone.
    number = tree.number(f"{folder}/type")
    return None if number is None else _TYPES.get(number, str(number))


def _card(tree: Tree, names: Names, device: str | None) -> tuple[str | None, str | None]:
    """Maker and name of the PCI or USB device that the interface belongs to, itself or through virtio and its like."""
    folder = device or "/"
    while folder.startswith("/sys/devices/"):
        subsystem = tree.link(f"{folder}/subsystem")
        if subsystem == "pci":
            vendor, product = (tree.number(f"{folder}/{name}", 16) for name in ("vendor", "device"))
            if vendor is None or product is None:
                return None, None
            return names.pci_vendor(f"{vendor:04x}"), names.pci_device(f"{vendor:04x}", f"{product:04x}")
        if subsystem == "usb" and (usb_vendor := tree.text(f"{folder}/idVendor")):
            usb_product = tree.text(f"{folder}/idProduct") or ""
            return (
                tree.text(f"{folder}/manufacturer") or names.usb_vendor(usb_vendor),
                tree.text(f"{folder}/product") or names.usb_product(usb_vendor, usb_product),
            )
        folder = os.path.dirname(folder)
    return None, None


def _addresses() -> Mapping[str, list[str]]:
    """Addresses with their prefix lengths, by interface."""
    import psutil

    found: dict[str, list[str]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if address.family in (socket.AF_INET, socket.AF_INET6):
                plain = address.address.partition("%")[0]
                found.setdefault(name, []).append(f"{plain}/{_prefix(address.netmask)}")
    return found


def _prefix(netmask: str | None) -> int:
    if not netmask:
        return 0
    family = socket.AF_INET6 if ":" in netmask else socket.AF_INET
    return int.from_bytes(socket.inet_pton(family, netmask), "big").bit_count()
