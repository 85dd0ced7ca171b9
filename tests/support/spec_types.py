"""Spec message types built at test time, with descriptors in pools of their own as the reconciler's are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    json_format,
    message_factory,
)

from nixcc.resource.v1 import options_pb2

TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
}
REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def add_field(
    message: descriptor_pb2.DescriptorProto, name: str, kind: str, oneof: int | None = None, **rules: Any
) -> None:
    """`kind`: a scalar, `.Message`, `enum Name`, `duration`, `list X`, `map X` (string keys)."""
    field = message.field.add(name=name, number=len(message.field) + 1)
    shape, _, inner = kind.partition(" ")
    if shape == "map":
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=TYPES["string"], label=1)
        set_type(entry.field.add(name="value", number=2, label=1), inner)
        field.type, field.label = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, REPEATED
        field.type_name = f".sample.{message.name}.{entry.name}"
    elif shape == "list":
        field.label = REPEATED
        set_type(field, inner)
    else:
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        set_type(field, kind)
        if oneof is not None:
            field.oneof_index = oneof
    if rules:
        field.options.Extensions[options_pb2.rules].CopyFrom(options_pb2.FieldRules(**rules))


def set_type(field: descriptor_pb2.FieldDescriptorProto, kind: str) -> None:
    if kind.startswith("."):
        field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".sample{kind}"
    elif kind == "duration":
        field.type, field.type_name = (
            descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
            ".google.protobuf.Duration",
        )
    elif kind.startswith("enum "):
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_ENUM
        field.type_name = f".sample.{kind.removeprefix('enum ')}"
    else:
        field.type = TYPES[kind]


def optional_scalars(message: descriptor_pb2.DescriptorProto, but: Collection[str] = ()) -> None:
    """Give every singular scalar presence, as `optional` in a proto does."""
    for field in message.field:
        if field.label != REPEATED and not field.HasField("oneof_index") and field.name not in but:
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")


def sample_file(**box_rules: Any) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="sample.proto", package="sample", syntax="proto3", dependency=["nixcc/resource/v1/options.proto"]
    )
    mode = file.enum_type.add(name="Mode")
    mode.value.add(name="MODE_UNSPECIFIED", number=0)
    mode.value.add(name="MODE_FAST", number=1)

    disk = file.message_type.add(name="Disk")
    add_field(disk, "target", "string", required=True)
    add_field(disk, "size", "int64", unit=options_pb2.UNIT_BYTES, minimum=1024)
    add_field(disk, "bus", "string", default_json='"virtio"')
    add_field(disk, "volume", "string", reference="StorageVolume")
    add_field(disk, "passphrase", "string", sensitive=True, max_length=8, pattern="[a-z]+")
    add_field(disk, "nested", "list .Disk")

    box = file.message_type.add(name="Box")
    box.oneof_decl.add(name="source")
    add_field(box, "path", "string", required=True, pattern="/.*", max_length=20)
    add_field(box, "mode", "int32", unit=options_pb2.UNIT_FILE_MODE, default_json="420")
    add_field(box, "count", "int64", minimum=-2, maximum=5)
    add_field(box, "big", "uint64")
    add_field(box, "ratio", "double", minimum=0, maximum=1)
    add_field(box, "fast", "enum Mode", required=True, default_json='"MODE_FAST"')
    add_field(box, "text", "string", multiline=True)
    add_field(box, "names", "list string", list=options_pb2.LIST_RULE_SET, max_length=2, pattern="[a-z]+")
    add_field(box, "labels", "map string", pattern="[a-z]+")
    add_field(box, "networks", "list string", reference="VirtualNetwork")
    add_field(box, "disks", "list .Disk", list=options_pb2.LIST_RULE_KEYED, list_key="target")
    add_field(box, "slots", "map .Disk", max_length=1)
    add_field(box, "keys", "list bytes", sensitive=True)
    add_field(box, "content", "string", oneof=0, multiline=True)
    add_field(box, "link", "string", oneof=0)
    add_field(box, "root", ".Disk", oneof=0)
    add_field(box, "pin", "int32", sensitive=True, maximum=9999)
    add_field(box, "secrets", "map string", sensitive=True)
    add_field(box, "notes", "map string", multiline=True)
    add_field(box, "extra", "string", **box_rules)
    optional_scalars(disk)
    optional_scalars(box)
    kind = options_pb2.KindOptions(identity_field="path", plural="boxes")
    box.options.Extensions[options_pb2.kind].CopyFrom(kind)

    bag = file.message_type.add(name="Bag")
    add_field(bag, "path", "string")
    bag.options.Extensions[options_pb2.kind].CopyFrom(options_pb2.KindOptions(identity_field="path"))
    optional_scalars(bag)
    loose = file.message_type.add(name="Loose")
    add_field(loose, "path", "string")
    return file


def classes(file: descriptor_pb2.FileDescriptorProto, *, extension_known: bool) -> dict[str, type]:
    """Message classes in a new pool, with or without options.proto."""
    pool = descriptor_pool.DescriptorPool()
    described = descriptor_pb2.FileDescriptorProto.FromString(file.SerializeToString())
    if extension_known:
        for dependency in (descriptor_pb2.DESCRIPTOR, options_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR):
            pool.AddSerializedFile(dependency.serialized_pb)
    else:
        del described.dependency[:]
    pool.AddSerializedFile(described.SerializeToString())
    names = [message.name for message in file.message_type]
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sample.{n}")) for n in names}


def box(sample: dict[str, type], /, **fields: Any) -> Any:
    return json_format.ParseDict({"path": "/b", "fast": "MODE_FAST", **fields}, sample["Box"]())


_SET = {"list": options_pb2.LIST_RULE_SET}
_ALL_SORTS: dict[str, list[tuple[str, str, dict[str, Any]]]] = {
    # name, type with "list"/"map"/"oneof"/"implicit" before it, rules
    "Disk": [
        ("target", "string", {}),
        ("size", "int64", {}),
        ("bus", "string", {"replace": True}),
        ("key", "string", {"write_only": True, "sensitive": True}),
        ("options", "list string", {}),
    ],
    "Rule": [("port", "int32", {}), ("comment", "string", {}), ("seen", "int64", {"ignore": True})],
    "Names": [("items", "list string", {})],
    "Net": [
        ("mac", "string", {}),
        ("mtu", "int32", {}),
        ("inner", ".Net", {}),
        ("dns", "list string", {}),
        ("psk", "string", {"write_only": True}),
    ],
    "Box": [
        ("id", "string", {}),
        ("mode", "int32", {}),
        ("on", "bool", {}),
        ("raw", "bytes", {}),
        ("arch", "string", {"replace": True}),
        ("token", "string", {"sensitive": True}),
        ("password", "string", {"write_only": True, "sensitive": True}),
        ("script", "string", {"write_only": True}),
        ("certificates", "list bytes", {"write_only": True}),
        ("seen", "string", {"ignore": True}),
        ("plain", "implicit int32", {}),
        ("text", "oneof string", {}),
        ("link", "oneof string", {"replace": True}),
        ("folder", "oneof .Names", {}),
        ("tags", "list string", _SET),
        ("args", "list string", {}),
        ("rules", "list .Rule", _SET),
        ("disks", "list .Disk", {"list": options_pb2.LIST_RULE_KEYED, "list_key": "target"}),
        ("steps", "list .Net", {}),
        ("labels", "map string", {}),
        ("ports", "map .Rule", {}),
        ("net", ".Net", {}),
        ("aliases", ".Names", {}),
        ("timeout", "duration", {}),
    ],
}


def all_sorts() -> dict[str, Any]:
    """Message classes with a field of every sort that the comparison knows; `Box` is the kind."""
    file = descriptor_pb2.FileDescriptorProto(name="all_sorts.proto", package="sample", syntax="proto3")
    file.dependency.extend([options_pb2.DESCRIPTOR.name, duration_pb2.DESCRIPTOR.name])
    for name, fields in _ALL_SORTS.items():
        message = file.message_type.add(name=name)
        if any(kind.startswith("oneof ") for _, kind, _ in fields):
            message.oneof_decl.add(name="source")
        implicit = {field for field, kind, _ in fields if kind.startswith("implicit ")}
        for field, kind, rules in fields:
            in_oneof = 0 if kind.startswith("oneof ") else None
            add_field(
                message, field, kind.removeprefix("oneof ").removeprefix("implicit "), in_oneof, **rules
            )
        optional_scalars(message, but=implicit)
        if name == "Box":
            kind_options = options_pb2.KindOptions(identity_field="id")
            message.options.Extensions[options_pb2.kind].CopyFrom(kind_options)
    return classes(file, extension_known=True)
