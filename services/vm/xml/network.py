"""Network XML and VirtualNetwork messages."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from uuid import uuid4
from xml.etree.ElementTree import Element

from nixcc.vm.v1 import network_pb2 as pb
from services.vm.xml.tree import add, attribute, checked, checked_text, drop, ensure

_MODES: Mapping[str, pb.NetworkMode.ValueType] = {
    "nat": pb.NETWORK_MODE_NAT,
    "route": pb.NETWORK_MODE_ROUTED,
    "bridge": pb.NETWORK_MODE_BRIDGE,
}
_MODE_NAMES = {value: name for name, value in _MODES.items()}


def read_network(root: Element) -> pb.VirtualNetwork:
    """The message without `running` and `autostart`. Of several addresses it tells the first."""
    spec = pb.VirtualNetwork()
    forward = root.find("forward")
    if forward is None:
        spec.mode = pb.NETWORK_MODE_ISOLATED
    elif forward.get("mode", "nat") in _MODES:
        spec.mode = _MODES[forward.get("mode", "nat")]
    if bridge := attribute(root, "bridge", "name"):
        spec.bridge = bridge
    spec.domain = attribute(root, "domain", "name")
    address = root.find("ip")
    if address is None:
        return spec
    spec.subnet = _subnet(address)
    spec.dhcp.SetInParent()
    for item in address.iterfind("dhcp/range"):
        spec.dhcp.ranges.add(start=_ip(item.get("start", "")), end=_ip(item.get("end", "")))
    for item in address.iterfind("dhcp/host[@mac]"):
        host = spec.dhcp.hosts.add(mac=item.get("mac", "").lower(), address=_ip(item.get("ip", "")))
        if item.get("name"):
            host.name = item.get("name", "")
    return spec


def new_network(name: str) -> Element:
    """A network with what a new one has unless its spec says otherwise."""
    root = Element("network")
    add(root, "name", text=checked_text(name, "name"))
    add(root, "uuid", text=str(uuid4()))
    add(root, "forward", {"mode": "nat"})
    return root


def edit_network(root: Element, spec: pb.VirtualNetwork) -> None:
    """Writes what the spec sets."""
    if spec.HasField("mode"):
        _edit_mode(root, spec.mode)
    if spec.HasField("bridge"):
        ensure(root, "bridge").set("name", checked(spec.bridge, "bridge"))
    if spec.HasField("domain"):
        if spec.domain:
            ensure(root, "domain").set("name", checked(spec.domain, "domain"))
        else:
            drop(root, "domain")
    if spec.HasField("subnet"):
        _edit_subnet(root, spec.subnet)
    if spec.HasField("dhcp"):
        _edit_dhcp(ensure(root, "ip"), spec.dhcp)


def range_element(item: pb.DhcpRange) -> Element:
    """What a DHCP server's range looks like."""
    return Element("range", {"start": item.start, "end": item.end})


def host_element(item: pb.DhcpHost) -> Element:
    """What a DHCP server's fixed address looks like."""
    element = Element("host", {"mac": item.mac, "ip": item.address})
    if item.name:
        element.set("name", item.name)
    return element


def _edit_mode(root: Element, mode: pb.NetworkMode.ValueType) -> None:
    now = attribute(root, "forward", "mode") or ("nat" if root.find("forward") is not None else "")
    wanted = _MODE_NAMES.get(mode, "")
    if now == wanted:
        return
    drop(root, "forward")
    if wanted:
        add(root, "forward", {"mode": wanted})
    bridge = root.find("bridge")
    if "bridge" in (now, wanted) and bridge is not None:
        # What libvirt says of its own bridges is not allowed of others, and back.
        root.remove(bridge)
        if wanted == "bridge":
            drop(root, "mac", "domain", "ip")


def _edit_subnet(root: Element, subnet: str) -> None:
    wanted = ipaddress.ip_interface(subnet)
    element = root.find("ip")
    if element is not None and _subnet(element) == str(wanted):
        return
    if element is None:
        element = add(root, "ip")
    for name in ("address", "netmask", "prefix", "family"):
        element.attrib.pop(name, None)
    if wanted.version == 6:
        element.set("family", "ipv6")
    element.set("address", str(wanted.ip))
    element.set("prefix", str(wanted.network.prefixlen))
    dhcp = element.find("dhcp")
    if dhcp is not None:
        # Addresses of the old subnet would be refused.
        for item in [*dhcp.findall("range"), *dhcp.findall("host")]:
            if not _inside(item.get("start") or item.get("ip") or "", wanted.network):
                dhcp.remove(item)


def _edit_dhcp(address: Element, dhcp: pb.Dhcp) -> None:
    if not dhcp.ranges and not dhcp.hosts:
        drop(address, "dhcp")
        return
    element = ensure(address, "dhcp")
    ranges = {(e.get("start"), e.get("end")): e for e in element.findall("range")}
    for key, old in ranges.items():
        if key not in {(r.start, r.end) for r in dhcp.ranges}:
            element.remove(old)
    for item in dhcp.ranges:
        if (item.start, item.end) not in ranges:
            element.insert(0, range_element(item))
    hosts = {e.get("mac", "").lower(): e for e in element.findall("host[@mac]")}
    for mac, old in hosts.items():
        if mac not in {h.mac for h in dhcp.hosts}:
            element.remove(old)
    for host in dhcp.hosts:
        found = hosts.get(host.mac)
        if found is None:
            element.append(host_element(host))
            continue
        found.set("ip", host.address)
        if host.HasField("name"):
            found.set("name", host.name)


def _subnet(element: Element) -> str:
    length = (
        element.get("prefix")
        or element.get("netmask")
        or ("128" if ":" in element.get("address", "") else "32")
    )
    return str(ipaddress.ip_interface(f"{element.get('address', '')}/{length}"))


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _inside(text: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(text) in network
    except ValueError:
        return False
