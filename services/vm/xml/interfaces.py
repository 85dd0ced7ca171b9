"""<interface> elements and Interface messages. The name is libvirt's user alias, `ua-` and the name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from nixcc.vm.v1 import machine_pb2 as pb
from services.vm.xml.tree import add, attribute, checked, drop, ensure

_PREFIX = "ua-"
_SAID = ("network", "bridge", "user")


def named_interfaces(devices: Element) -> Iterator[tuple[str, Element]]:
    """Names and elements of those that an Interface can say; one without a name is `net` and its position."""
    for index, element in enumerate(devices.findall("interface")):
        if element.get("type") in _SAID:
            alias = attribute(element, "alias", "name")
            yield alias.removeprefix(_PREFIX) if alias.startswith(_PREFIX) else f"net{index}", element


def read_interface(name: str, element: Element) -> pb.Interface:
    """The message."""
    interface = pb.Interface(name=name)
    match element.get("type"):
        case "network":
            interface.network = attribute(element, "source", "network")
        case "bridge":
            interface.bridge = attribute(element, "source", "bridge")
        case _:
            interface.user = True
    if mac := attribute(element, "mac", "address"):
        interface.mac = mac.lower()
    if model := attribute(element, "model", "type"):
        interface.model = model
    return interface


def new_interface() -> Element:
    """An element to write a new Interface into, with an address of QEMU's own range."""
    element = Element("interface", {"type": "user"})
    tail = ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
    add(element, "mac", {"address": f"52:54:00:{tail}"})
    add(element, "model", {"type": "virtio"})
    return element


def write_interface(element: Element, interface: pb.Interface, where: str) -> None:
    """Changes the element to what the message sets."""
    kind, source = _source(interface, where)
    if kind != element.get("type") or source.items() != _known(element).items():
        element.set("type", kind)
        drop(element, "source", "target", "virtualport")
        if source:
            add(element, "source", source)
    ensure(element, "alias").set("name", _PREFIX + interface.name)
    if interface.HasField("mac"):
        ensure(element, "mac").set("address", interface.mac)
    if interface.HasField("model"):
        ensure(element, "model").set("type", interface.model)


def _source(interface: pb.Interface, where: str) -> tuple[str, dict[str, str]]:
    if interface.HasField("network"):
        return "network", {"network": checked(interface.network, f"{where}.network")}
    if interface.HasField("bridge"):
        return "bridge", {"bridge": checked(interface.bridge, f"{where}.bridge")}
    return "user", {}


def _known(element: Element) -> dict[str, str]:
    """What a message can say of the source."""
    source = element.find("source")
    if source is None:
        return {}
    return {key: value for key, value in source.attrib.items() if key in ("network", "bridge")}
