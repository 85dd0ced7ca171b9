"""Nouns to messages of the same shape and back: fields are matched by name."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Hashable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)
N = TypeVar("N")


def to_message(noun: Any, message: M) -> M:
    """Fills the message; None and empty stay unset. Raises AttributeError where the shapes differ."""
    for name in _names(cast(Hashable, type(noun))):
        value = getattr(noun, name)
        if value is None or value == ():
            continue
        if isinstance(value, tuple):
            target = getattr(message, name)
            if dataclasses.is_dataclass(value[0]):
                for element in value:
                    to_message(element, target.add())
            else:
                target.extend(value)
        elif isinstance(value, StrEnum):
            setattr(message, name, _number(message.DESCRIPTOR.fields_by_name[name].enum_type, value))
        elif isinstance(value, datetime):
            getattr(message, name).FromDatetime(value)
        elif isinstance(value, timedelta):
            getattr(message, name).FromTimedelta(value)
        elif dataclasses.is_dataclass(value):
            child = getattr(message, name)
            child.SetInParent()
            to_message(value, child)
        else:
            setattr(message, name, value)
    return message


def from_message(cls: type[N], message: Message) -> N:
    """The noun; fields that are unset take the noun's own default."""
    readers = _readers(cast(Hashable, cls))
    values = {}
    for field, value in message.ListFields():
        if reader := readers.get(field.name):
            values[field.name] = reader(value)
    return cls(**values)


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@cache
def _number(enum: EnumDescriptor, value: StrEnum) -> int:
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return enum.values_by_name[prefix + value.upper()].number


@cache
def _readers(cls: Any) -> dict[str, Callable[[Any], Any]]:
    return {name: _reader(hint) for name, hint in get_type_hints(cls).items()}


def _reader(hint: Any) -> Callable[[Any], Any]:
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(argument for argument in get_args(hint) if argument is not types.NoneType)
    if get_origin(hint) is tuple:
        element = get_args(hint)[0]
        if dataclasses.is_dataclass(element):
            inner = cast(type[Any], element)
            return lambda values: tuple(from_message(inner, value) for value in values)
        return tuple
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        members = list(hint)
        return lambda number: members[number]
    if hint is datetime:
        return lambda value: value.ToDatetime(tzinfo=UTC)
    if hint is timedelta:
        return lambda value: value.ToTimedelta()
    if dataclasses.is_dataclass(hint):
        noun = cast(type[Any], hint)
        return lambda value: from_message(noun, value)
    return lambda value: value
