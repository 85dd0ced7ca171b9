"""Pool and volume XML and their messages."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4
from xml.etree.ElementTree import Element

from nixcc.vm.v1 import storage_pb2 as pb
from services.vm.xml.tree import add, attribute, checked, checked_text, ensure, set_size, size_of, text_of

_TYPES: Mapping[str, pb.PoolType.ValueType] = {
    "dir": pb.POOL_TYPE_DIRECTORY,
    "fs": pb.POOL_TYPE_FILE_SYSTEM,
    "netfs": pb.POOL_TYPE_NETWORK,
    "logical": pb.POOL_TYPE_VOLUME_GROUP,
}
_TYPE_NAMES = {value: name for name, value in _TYPES.items()}
# What `source` is called in each type's XML: element and attribute, or the element's text.
_SOURCES: Mapping[str, tuple[str, str]] = {
    "fs": ("source/device", "path"),
    "netfs": ("source/dir", "path"),
    "logical": ("source/name", ""),
}
_FORMATS: Mapping[str, pb.VolumeFormat.ValueType] = {
    "raw": pb.VOLUME_FORMAT_RAW,
    "qcow2": pb.VOLUME_FORMAT_QCOW2,
}
FORMAT_NAMES = {value: name for name, value in _FORMATS.items()}


def read_pool(root: Element) -> pb.StoragePool:
    """The message without `running` and `autostart`."""
    spec = pb.StoragePool(path=text_of(root, "target/path"))
    kind = root.get("type", "")
    if kind in _TYPES:
        spec.type = _TYPES[kind]
    if kind in _SOURCES:
        path, name = _SOURCES[kind]
        spec.source = attribute(root, path, name) if name else text_of(root, path)
    if host := attribute(root, "source/host", "name"):
        spec.host = host
    return spec


def new_pool(name: str, spec: pb.StoragePool) -> Element:
    """A pool as the spec says."""
    kind = _TYPE_NAMES.get(spec.type, "dir")
    root = Element("pool", {"type": kind})
    add(root, "name", text=checked_text(name, "name"))
    add(root, "uuid", text=str(uuid4()))
    if kind in _SOURCES:
        source = add(root, "source")
        if kind == "netfs":
            add(source, "host", {"name": checked(spec.host, "host")})
        path, attribute_name = _SOURCES[kind]
        tag = path.rpartition("/")[2]
        if attribute_name:
            add(source, tag, {attribute_name: checked(spec.source, "source")})
        else:
            add(source, tag, text=checked_text(spec.source, "source"))
    add(add(root, "target"), "path", text=checked_text(spec.path, "path"))
    return root


def read_volume(pool: str, name: str, root: Element) -> pb.StorageVolume:
    """The message."""
    spec = pb.StorageVolume(
        location=f"{pool}/{name}", pool=pool, capacity=size_of(root.find("capacity"), "b") or 0
    )
    known = _FORMATS.get(volume_format(root))
    if known is not None:
        spec.format = known
    spec.backing = text_of(root, "backingStore/path")
    return spec


def volume_format(root: Element) -> str:
    """libvirt's name of it; a volume group's volumes are raw and don't say so."""
    return attribute(root, "target/format", "type") or "raw"


def new_volume(name: str, spec: pb.StorageVolume, backing_format: str, default_format: str) -> Element:
    """A volume as the spec says; nothing of it is allocated beforehand."""
    root = Element("volume")
    add(root, "name", text=checked_text(name, "name"))
    name_of_format = FORMAT_NAMES.get(spec.format, default_format)
    set_size(root, "capacity", spec.capacity)
    if name_of_format == "qcow2" or default_format != "raw":
        add(root, "allocation", {"unit": "bytes"}, "0")
    target = ensure(root, "target")
    add(target, "format", {"type": name_of_format})
    if spec.backing:
        backing = add(root, "backingStore")
        add(backing, "path", text=checked_text(spec.backing, "backing"))
        add(backing, "format", {"type": backing_format})
    return root
