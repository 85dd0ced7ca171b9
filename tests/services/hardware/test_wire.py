from __future__ import annotations

import dataclasses
import inspect
from enum import StrEnum

import pytest

from nixcc.hardware.v1 import devices_pb2, hardware_pb2, inventory_pb2, storage_pb2
from services.hardware.models import devices, events, inventory, storage

PAIRS = [
    pytest.param(noun, getattr(messages, noun.__name__), id=noun.__name__)
    for nouns, messages in ((devices, devices_pb2), (storage, storage_pb2), (inventory, inventory_pb2))
    for _, noun in inspect.getmembers(nouns, dataclasses.is_dataclass)
    if noun.__module__ == nouns.__name__
]


@pytest.mark.parametrize(("noun", "message"), PAIRS)
def test_noun_and_message_have_the_same_fields(noun: type, message: type) -> None:
    names = [field.name for field in dataclasses.fields(noun)]
    assert names == [field.name for field in message.DESCRIPTOR.fields]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "enum"),
    [
        (inventory.FirmwareType, inventory_pb2.FirmwareType),
        (inventory.Part, hardware_pb2.Part),
        (events.DeviceAction, hardware_pb2.DeviceAction),
    ],
)
def test_words_and_enums_have_the_same_values(words: type[StrEnum], enum: object) -> None:
    values = [value.name for value in enum.DESCRIPTOR.values]  # type: ignore[attr-defined]
    prefix = values[0].removesuffix("UNSPECIFIED")
    expected = [name.removeprefix(prefix).lower() for name in values]
    assert [word.value for word in words] in (expected, expected[1:])
    assert [word.name.lower() for word in words] == [word.value for word in words]
