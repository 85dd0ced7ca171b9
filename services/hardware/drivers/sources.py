"""Finds the device that a mount's or swap's source names."""

from __future__ import annotations

import os

from services.hardware.drivers.linux_block import block_devices
from services.hardware.drivers.tree import Notes, Tree

TAGS = ("UUID", "LABEL", "PARTUUID", "PARTLABEL")


def tag(source: str) -> tuple[str, str] | None:
    """`UUID=…` and its like in two; None: a plain path or word."""
    name, equals, value = source.partition("=")
    return (name, value) if equals and name in TAGS else None


def resolve(source: str) -> str | None:
    """The path a source stands for: the device behind a tag, else the path with links followed; None: not there."""
    named = tag(source)
    if named is None:
        return os.path.realpath(source) if source.startswith("/") and os.path.exists(source) else None
    name, value = named
    link = f"/dev/disk/by-{name.lower()}/{value}"
    if os.path.exists(link):
        return os.path.realpath(link)
    # Without udev nobody makes such links: look at the devices.
    for device in block_devices(Tree(), Notes()):
        content, partition = device.content, device.partition
        known = {
            "UUID": content.uuid if content else None,
            "LABEL": content.label if content else None,
            "PARTUUID": partition.uuid if partition else None,
            "PARTLABEL": partition.label if partition else None,
        }
        if known[name] == value and device.path:
            return os.path.realpath(device.path)
    return None


def loop_file(device: str) -> str | None:
    """The image behind a loop device that goes away with its mount; None: no such device."""
    tree = Tree()
    folder = f"/sys/class/block/{os.path.basename(device)}/loop"
    return tree.text(f"{folder}/backing_file") if tree.flag(f"{folder}/autoclear") else None
