"""What we keep in a domain's own metadata: labels, and what was asked for where libvirt can't tell it back.

<metadata><nixcc:machine xmlns:nixcc="urn:nixcc:vm:1" accelerator="AUTO" machine="q35" …>
  <nixcc:label name="tier" value="web"/>
  <nixcc:disk target="vda" path="/vm/web.qcow2" size="…" made="yes"/>
  <nixcc:seed path="…" user_data_path="…"><nixcc:digest of="user_data" sha256="…"/></nixcc:seed>
</nixcc:machine></metadata>
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from services.vm.xml.tree import NAMESPACE, add, checked, dump, ensure

_ROOT = f"{{{NAMESPACE}}}machine"
_LABEL = f"{{{NAMESPACE}}}label"
_DISK = f"{{{NAMESPACE}}}disk"
_SEED = f"{{{NAMESPACE}}}seed"
_DIGEST = f"{{{NAMESPACE}}}digest"


@dataclass
class DiskNote:
    """How a disk's image was asked for; `made`: this machine is what it was made for."""

    path: str
    size: int | None = None
    backing: str = ""
    made: bool = False


@dataclass
class SeedNote:
    """The cloud-init seed: its file (empty: none, the driver has no files), and SHA-256 of each part in hex."""

    path: str = ""
    user_data_path: str = ""
    digests: dict[str, str] = field(default_factory=dict)


@dataclass
class Notes:
    """The metadata element."""

    labels: dict[str, str] = field(default_factory=dict)
    accelerator: str = ""
    machine: str = ""
    shutdown_timeout: int | None = None
    delete_disks: bool | None = None
    disks: dict[str, DiskNote] = field(default_factory=dict)
    seed: SeedNote | None = None


def read_notes(root: Element) -> Notes:
    """The notes of a domain; empty ones where it has none."""
    notes = Notes()
    element = root.find(f"metadata/{_ROOT}")
    if element is None:
        return notes
    notes.accelerator = element.get("accelerator", "")
    notes.machine = element.get("machine", "")
    notes.shutdown_timeout = _number(element.get("shutdown_timeout"))
    if element.get("delete_disks"):
        notes.delete_disks = element.get("delete_disks") == "yes"
    for label in element.iterfind(_LABEL):
        notes.labels[label.get("name", "")] = label.get("value", "")
    for disk in element.iterfind(_DISK):
        notes.disks[disk.get("target", "")] = DiskNote(
            path=disk.get("path", ""),
            size=_number(disk.get("size")),
            backing=disk.get("backing", ""),
            made=disk.get("made") == "yes",
        )
    seed = element.find(_SEED)
    if seed is not None:
        digests = {d.get("of", ""): d.get("sha256", "") for d in seed.iterfind(_DIGEST)}
        notes.seed = SeedNote(seed.get("path", ""), seed.get("user_data_path", ""), digests)
    return notes


def write_notes(root: Element, notes: Notes) -> None:
    """Puts the notes into a domain, in place of those it has."""
    metadata = ensure(root, "metadata")
    for old in metadata.findall(_ROOT):
        metadata.remove(old)
    metadata.append(_build(notes))


def notes_xml(notes: Notes) -> str:
    """The element alone and without its namespace, as virDomainSetMetadata wants it."""
    element = _build(notes)
    for child in element.iter():
        child.tag = child.tag.rpartition("}")[2]
    return dump(element)


def _build(notes: Notes) -> Element:
    element = Element(_ROOT)
    if notes.accelerator:
        element.set("accelerator", notes.accelerator)
    if notes.machine:
        element.set("machine", notes.machine)
    if notes.shutdown_timeout is not None:
        element.set("shutdown_timeout", str(notes.shutdown_timeout))
    if notes.delete_disks is not None:
        element.set("delete_disks", "yes" if notes.delete_disks else "no")
    for name, value in sorted(notes.labels.items()):
        checked(name, "labels")
        add(element, _LABEL, {"name": name, "value": checked(value, f"labels[{name}]")})
    for target, disk in sorted(notes.disks.items()):
        child = add(element, _DISK, {"target": target, "path": disk.path})
        if disk.size is not None:
            child.set("size", str(disk.size))
        if disk.backing:
            child.set("backing", disk.backing)
        if disk.made:
            child.set("made", "yes")
    if notes.seed is not None:
        child = add(element, _SEED, {"path": notes.seed.path})
        if notes.seed.user_data_path:
            child.set("user_data_path", notes.seed.user_data_path)
        for part, digest in sorted(notes.seed.digests.items()):
            add(child, _DIGEST, {"of": part, "sha256": digest})
    return element


def _number(text: str | None) -> int | None:
    return int(text) if text else None
