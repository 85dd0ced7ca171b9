"""Specs as plain JSON."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from common.spec_json import dump, to_json
from spec_types import all_sorts, box, classes, sample_file

CLASSES = all_sorts()
Box = CLASSES["Box"]


def test_numbers_and_names_stay() -> None:
    fields = {
        "on": True,
        "raw": "AA==",
        "plain": 3,
        "disks": [{"target": "v", "size": 2**40, "options": ["a"]}],
        "labels": {"b": "2", "a": "1"},
        "ports": {"x": {"port": 1}},
        "net": {"inner": {"mtu": 5}},
        "timeout": "2s",
    }
    message = json_format.ParseDict(fields, Box())
    assert to_json(message) == fields
    assert json_format.ParseDict(json.loads(dump(to_json(message))), Box()) == message
    assert list(to_json(message)["labels"]) == ["a", "b"]


def test_secrets_are_masked_at_every_depth_unless_asked_for() -> None:
    message = Box(token="s3cret", disks=[{"target": "v", "key": "s3cret"}])
    assert to_json(message) == {"token": "********", "disks": [{"target": "v", "key": "********"}]}
    assert to_json(message, mask=False) == {"token": "s3cret", "disks": [{"target": "v", "key": "s3cret"}]}


def test_what_a_field_is_unset_is_left_out_and_zero_is_not() -> None:
    assert to_json(Box()) == {}
    assert to_json(Box(mode=0, on=False, arch="")) == {"mode": 0, "on": False, "arch": ""}


def test_enums_are_names_and_odd_floats_are_text() -> None:
    sample = classes(sample_file(), extension_known=False)
    assert to_json(box(sample)) == {"path": "/b", "fast": "MODE_FAST"}
    assert to_json(sample["Box"](fast=7)) == {"fast": 7}
    for value in ("NaN", "Infinity", "-Infinity"):
        message = box(sample, ratio=value)
        assert to_json(message)["ratio"] == value
        assert str(json_format.ParseDict(to_json(message), sample["Box"]())) == str(message)


@pytest.mark.parametrize("text", ["ü", "\n", '"', "🙂"])
def test_dump_is_compact_and_readable(text: str) -> None:
    assert json.loads(dump({"a": [text]})) == {"a": [text]}
    assert dump({"a": ["ü", 1]}) == '{"a":["ü",1]}'


def test_json_texts_stand_as_their_values() -> None:
    jsons = classes(sample_file(json=True), extension_known=True)
    assert to_json(box(jsons, extra='{"b":[1.5,null],"a":"x"}'))["extra"] == {"b": [1.5, None], "a": "x"}
    assert to_json(box(jsons, extra="{broken"))["extra"] == "{broken"
