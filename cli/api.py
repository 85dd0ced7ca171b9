"""The API's own description, shipped as api.binpb: files, and the comments on what is in them. Needs no daemon."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2

from cli.kinds import api_files

_FILE, _MESSAGE, _ENUM = (
    descriptor_pb2.FileDescriptorProto,
    descriptor_pb2.DescriptorProto,
    descriptor_pb2.EnumDescriptorProto,
)


@cache
def files() -> descriptor_pb2.FileDescriptorSet:
    """All files of the API with their comments, imports first."""
    found: descriptor_pb2.FileDescriptorSet = api_files()
    return found


@cache
def comments() -> dict[str, str]:
    """The comment of each message, field, enum and value, by full name; line breaks as in the proto."""
    found: dict[str, str] = {}
    for file in files().file:
        texts = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
            if location.leading_comments
        }
        for path, name in _names(file):
            text = texts.get(path, "")
            if text:
                found[name] = "\n".join(line.strip() for line in text.strip().splitlines())
    return found


def comment(full_name: str) -> str:
    """The comment as one paragraph; empty where there is none."""
    return " ".join(comments().get(full_name, "").split())


def _names(file: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    """Source path (descriptor.proto, SourceCodeInfo) and full name of all that a file declares."""
    for index, message in enumerate(file.message_type):
        yield from _message((_FILE.MESSAGE_TYPE_FIELD_NUMBER, index), file.package, message)
    for index, enum in enumerate(file.enum_type):
        yield from _enum((_FILE.ENUM_TYPE_FIELD_NUMBER, index), file.package, enum)
    for index, service in enumerate(file.service):
        path, name = (_FILE.SERVICE_FIELD_NUMBER, index), f"{file.package}.{service.name}"
        yield path, name
        for number, method in enumerate(service.method):
            yield (
                (*path, descriptor_pb2.ServiceDescriptorProto.METHOD_FIELD_NUMBER, number),
                f"{name}.{method.name}",
            )


def _message(path: tuple[int, ...], scope: str, message: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for index, field in enumerate(message.field):
        yield (*path, _MESSAGE.FIELD_FIELD_NUMBER, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _message((*path, _MESSAGE.NESTED_TYPE_FIELD_NUMBER, index), name, nested)
    for index, enum in enumerate(message.enum_type):
        yield from _enum((*path, _MESSAGE.ENUM_TYPE_FIELD_NUMBER, index), name, enum)


def _enum(path: tuple[int, ...], scope: str, enum: Any) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{enum.name}"
    yield path, name
    for index, value in enumerate(enum.value):
        yield (*path, _ENUM.VALUE_FIELD_NUMBER, index), f"{name}.{value.name}"
