"""Small tools for libvirt's XML: parse, serialise, find and set; sizes with units; what XML can't carry is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from google.protobuf.message import Message

from common.errors import ControlError, InvalidRequest, Violation

NAMESPACE = "urn:nixcc:vm:1"
for _prefix, _uri in {
    "nixcc": NAMESPACE,
    "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
    "libosinfo": "http://libosinfo.org/xmlns/libvirt/domain/1.0",
    "dnsmasq": "http://libvirt.org/schemas/network/dnsmasq/1.0",
}.items():
    ET.register_namespace(_prefix, _uri)

# XML 1.0 §2.2 allows no others; a carriage return would come back as a line feed.
_NOT_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# libvirt's units: https://libvirt.org/formatdomain.html#memory-allocation
_UNITS = {"b": 1, "byte": 1, "bytes": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    _UNITS |= {f"{_letter}b": 1000**_power, _letter: 1024**_power, f"{_letter}ib": 1024**_power}


def has(message: Message, field: str) -> bool:
    """Whether the message sets the field."""
    return message.HasField(field)


def parse(text: str) -> Element:
    """The root element of what libvirt gave us."""
    try:
        return ET.fromstring(text)  # noqa: S314  libvirt's own, not a stranger's
    except ET.ParseError as error:
        raise ControlError(f"libvirt's XML can't be read: {error}") from error


def dump(root: Element) -> str:
    """The XML text."""
    return ET.tostring(root, encoding="unicode")


def canonical(root: Element) -> str:
    """A text that two elements share when they differ in nothing but the white space between elements."""
    return ET.canonicalize(dump(root), strip_text=True)


def checked(value: str, field: str) -> str:
    """The value; InvalidRequest where XML can't carry it or would change it."""
    found = _NOT_XML.search(value)
    if found is not None:
        what = f"contains U+{ord(found.group()):04X}, which XML can't carry"
        raise InvalidRequest(f"{field} {what}", [Violation(field, what)])
    return value


def checked_text(value: str, field: str) -> str:
    """As `checked`, for text between tags: libvirt drops white space around it."""
    if value != value.strip() or "\n" in value:
        what = "starts or ends with white space, or has line breaks"
        raise InvalidRequest(f"{field} {what}", [Violation(field, what)])
    return checked(value, field)


def ensure(parent: Element, tag: str) -> Element:
    """The child of that tag, made where it is missing."""
    found = parent.find(tag)
    return found if found is not None else ET.SubElement(parent, tag)


def add(parent: Element, tag: str, attributes: Mapping[str, str] | None = None, text: str = "") -> Element:
    """A new last child."""
    child = ET.SubElement(parent, tag, dict(attributes or {}))
    if text:
        child.text = text
    return child


def drop(parent: Element, *tags: str) -> None:
    """Removes all children of these tags."""
    for tag in tags:
        for child in parent.findall(tag):
            parent.remove(child)


def set_text(parent: Element, tag: str, text: str) -> None:
    """Gives the child that text; without text it goes."""
    if text:
        ensure(parent, tag).text = text
    else:
        drop(parent, tag)


def text_of(parent: Element, path: str) -> str:
    """The text at the path, without white space around it; empty where there is none."""
    return (parent.findtext(path) or "").strip()


def attribute(parent: Element, path: str, name: str) -> str:
    """The attribute of the element at the path; empty where there is none."""
    found = parent.find(path)
    return "" if found is None else found.get(name, "")


def size_of(element: Element | None, default_unit: str = "KiB") -> int | None:
    """A size element in bytes; None where there is none."""
    if element is None or not (element.text or "").strip():
        return None
    return int(element.text or "") * _UNITS[element.get("unit", default_unit).lower()]


def set_size(parent: Element, tag: str, size: int) -> None:
    """Writes a size in bytes."""
    element = ensure(parent, tag)
    element.set("unit", "bytes")
    element.text = str(size)
