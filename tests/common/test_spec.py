"""The meaning of field rules, on message types built at test time in pools of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from common import spec
from common.errors import InvalidRequest, Violation
from nixcc.resource.v1 import options_pb2
from spec_types import add_field, box, classes, sample_file


@pytest.fixture(scope="module", params=[True, False], ids=["extension known", "extension unknown"])
def sample(request: pytest.FixtureRequest) -> dict[str, type]:
    return classes(sample_file(), extension_known=request.param)


def found(message: Any) -> dict[str, str]:
    violations = spec.violations(message)
    assert len({v.field for v in violations}) == len(violations)
    return {v.field: v.description for v in violations}


def test_defaults_fill_what_is_unset_at_every_depth(sample: dict[str, type]) -> None:
    message = sample["Box"](
        path="/b", disks=[{"target": "a", "nested": [{"bus": "ide"}, {}]}], slots={"s": {}}
    )
    spec.fill_defaults(message)
    assert (message.mode, message.fast) == (420, 1)
    assert [d.bus for d in message.disks] == ["virtio"]
    assert [d.bus for d in message.disks[0].nested] == ["ide", "virtio"]
    assert message.slots["s"].bus == "virtio"
    assert not message.HasField("root")
    assert not message.HasField("count")
    again = sample["Box"]()
    again.CopyFrom(message)
    spec.fill_defaults(again)
    assert again == message


def test_defaults_leave_what_is_set_even_to_zero(sample: dict[str, type]) -> None:
    message = sample["Box"](mode=0, fast=0, root={"bus": ""})
    spec.fill_defaults(message)
    assert (message.mode, message.fast, message.root.bus) == (0, 0, "")


def test_default_of_a_oneof_member_waits_for_an_empty_oneof() -> None:
    file = sample_file()
    link = next(f for f in file.message_type[1].field if f.name == "link")
    link.options.Extensions[options_pb2.rules].default_json = '"/target"'
    sample = classes(file, extension_known=False)
    empty, taken = sample["Box"](), sample["Box"](content="x")
    spec.fill_defaults(empty)
    spec.fill_defaults(taken)
    assert empty.WhichOneof("source") == "link"
    assert empty.link == "/target"
    assert taken.WhichOneof("source") == "content"


def test_a_good_message_has_no_violations(sample: dict[str, type]) -> None:
    message = box(
        sample,
        mode=0o755,
        count=-2,
        big="9223372036854775807",
        ratio=1.0,
        text="a\n\tb ü 漢 🙂",
        names=["a", "b"],
        labels={"a": "B c"},
        disks=[{"target": "vda", "size": 1024}],
        root={"target": "x"},
    )
    assert found(message) == {}


def test_required_fields(sample: dict[str, type]) -> None:
    assert found(sample["Box"]()) == {"path": "must be set", "fast": "must be set"}
    assert found(sample["Box"](path="", fast=0)) == {"path": "must be set", "fast": "must be set"}
    nested = box(sample, disks=[{"target": "a"}, {"nested": [{}]}], slots={"s k": {}}, root={})
    assert found(nested) == dict.fromkeys(
        ["disks[1].target", "disks[1].nested[0].target", "slots[s k].target", "root.target"], "must be set"
    )


def test_required_list_and_map_must_not_be_empty() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="sample.proto", package="sample", syntax="proto3", dependency=["nixcc/resource/v1/options.proto"]
    )
    holder = file.message_type.add(name="Holder")
    add_field(holder, "items", "list string", required=True)
    add_field(holder, "pairs", "map int64", required=True)
    add_field(holder, "plain", "int64", required=True)
    sample = classes(file, extension_known=True)
    assert found(sample["Holder"]()) == dict.fromkeys(["items", "pairs", "plain"], "must be set")
    assert found(sample["Holder"](items=["a"], pairs={"a": 0}, plain=1)) == {}


def test_numbers_stay_in_their_range_and_say_so_in_their_unit(sample: dict[str, type]) -> None:
    assert found(box(sample, count=6)) == {"count": "must be at most 5, is 6"}
    assert found(box(sample, count=-3)) == {"count": "must be at least -2, is -3"}
    assert found(box(sample, ratio=1.5)) == {"ratio": "must be at most 1, is 1.5"}
    assert found(box(sample, ratio="NaN")) == {"ratio": "must be a finite number"}
    assert found(box(sample, ratio="Infinity")) == {"ratio": "must be a finite number"}
    assert found(box(sample, big=str(2**63)))["big"].startswith("must be at most 9223372036854775807")
    assert found(box(sample, mode=-1)) == {"mode": "must be at least 0000, is -1"}
    assert found(box(sample, mode=0o10000)) == {"mode": "must be at most 7777, is 4096"}
    assert found(box(sample, disks=[{"target": "a", "size": 10}])) == {
        "disks[0].size": "must be at least 1KiB, is 10"
    }


def test_a_unit_refuses_negative_numbers_without_a_minimum() -> None:
    file = sample_file()
    size = file.message_type[0].field[1]
    size.options.Extensions[options_pb2.rules].ClearField("minimum")
    sample = classes(file, extension_known=True)
    assert found(sample["Disk"](target="a", size=-1)) == {"size": "must be at least 0, is -1"}


def test_patterns_match_the_whole_text(sample: dict[str, type]) -> None:
    assert found(box(sample, path="b")) == {"path": "the value 'b' does not match /.*"}
    assert found(box(sample, names=["a", "aB"])) == {"names[1]": "the value 'aB' does not match [a-z]+"}
    assert found(box(sample, names=[""])) == {"names[0]": "the value '' does not match [a-z]+"}
    assert found(box(sample, labels={"A": "x"})) == {"labels[A]": "the key 'A' does not match [a-z]+"}
    assert found(box(sample, labels={"a": "ANY VALUE"})) == {}


def test_patterns_know_ascii_classes_only_as_re2_does() -> None:
    sample = classes(sample_file(pattern=r"\d+"), extension_known=True)
    assert found(box(sample, extra="42")) == {}
    assert set(found(box(sample, extra="٤٢"))) == {"extra"}


def test_keys_of_a_keyed_list_tell_its_elements_apart(sample: dict[str, type]) -> None:
    message = box(sample, disks=[{"target": "a"}, {"target": "b"}, {"target": "a"}, {"target": "a"}])
    repeats = "repeats that of disks[0]: it must tell the elements apart"
    assert found(message) == {"disks[2].target": repeats, "disks[3].target": repeats}


def test_lengths(sample: dict[str, type]) -> None:
    assert found(box(sample, path="/" + "ü" * 10)) == {"path": "is 21 bytes long, at most 20 are allowed"}
    assert found(box(sample, path="/" + "ü" * 9 + "a")) == {}
    assert found(box(sample, names=["a", "b", "c"])) == {"names": "has 3 elements, at most 2 are allowed"}
    slots = {"a": {"target": "x"}, "b": {"target": "x"}}
    assert found(box(sample, slots=slots)) == {"slots": "has 2 elements, at most 1 are allowed"}


def test_a_huge_string_is_refused_before_a_pattern_sees_it() -> None:
    sample = classes(sample_file(pattern="(a+)+b"), extension_known=True)
    assert found(box(sample, extra="a" * 1_000_000)) == {"extra": "is longer than 4096 characters"}


@pytest.mark.parametrize("character", ["\x00", "\x01", "\x1b", "\x0b", "\x7f", "\x85"])
def test_control_characters_are_refused_everywhere(sample: dict[str, type], character: str) -> None:
    bad = f"a{character}"
    message = box(
        sample,
        extra=bad,
        text=bad,
        names=[bad],
        labels={bad: "x", "b": bad},
        content=bad,
        disks=[{"target": bad}],
        slots={"s": {"target": "t", "bus": bad}},
    )
    assert set(found(message).values()) == {
        f"contains the control character U+{ord(character):04X} at position 2",
        f"the key contains the control character U+{ord(character):04X} at position 2",
    }
    assert set(found(message)) == {
        "extra",
        "text",
        "names[0]",
        f"labels[{json.dumps(bad, ensure_ascii=False)}]",
        "labels[b]",
        "content",
        "disks[0].target",
        "slots[s].bus",
    }


def test_line_breaks_and_tabs_need_multiline(sample: dict[str, type]) -> None:
    assert found(box(sample, text="a\r\n\tb", content="\n")) == {}
    assert set(found(box(sample, extra="a\rb", disks=[{"target": "a\tb"}]))) == {"extra", "disks[0].target"}
    assert found(box(sample, notes={"a": "x\ny"})) == {}
    assert set(found(box(sample, notes={"a\n": "x"}))) == {'notes["a\\n"]'}


def test_unknown_enum_values_and_unknown_fields_are_told(sample: dict[str, type]) -> None:
    assert found(sample["Box"](path="/b", fast=9)) == {
        "fast": "unknown value 9, expected one of MODE_UNSPECIFIED, MODE_FAST"
    }
    message = box(sample, root={"target": "a"})
    message.root.MergeFromString(b"\xa0\x06\x01")  # field 100, varint 1
    assert list(found(message)) == ["root.field_100"]


def test_every_violation_at_once_and_no_secret_in_any(sample: dict[str, type]) -> None:
    secret = "HUNTER2"
    message = box(
        sample,
        path="x",
        count=9,
        pin=12345,
        disks=[{"target": "a", "passphrase": secret}, {"target": "\x00"}],
    )
    violations = found(message)
    assert set(violations) == {"path", "count", "pin", "disks[0].passphrase", "disks[1].target"}
    assert violations["disks[0].passphrase"] == "the value does not match [a-z]+"
    assert violations["pin"] == "must be at most 9999"
    assert secret not in str(violations)


def test_identity(sample: dict[str, type]) -> None:
    assert spec.identity(sample["Box"](path="/etc/motd"), "motd") == "/etc/motd"
    assert spec.identity(sample["Bag"](), "motd") == "motd"
    assert spec.identity(sample["Bag"](path=""), "motd") == "motd"
    assert spec.identity(sample["Loose"](path="/x"), "motd") == "motd"
    with pytest.raises(InvalidRequest) as caught:
        spec.identity(sample["Box"](), "motd")
    assert caught.value.violations == (Violation("path", "must be set"),)


def test_references_are_found_at_every_depth(sample: dict[str, type]) -> None:
    message = box(
        sample,
        networks=["lan", "", "wan"],
        disks=[{"volume": "a", "nested": [{}, {"volume": "b"}]}],
        slots={"x": {"volume": "c"}},
        root={"volume": "d"},
    )
    assert spec.references(message) == [
        ("networks[0]", "VirtualNetwork", "lan"),
        ("networks[2]", "VirtualNetwork", "wan"),
        ("disks[0].volume", "StorageVolume", "a"),
        ("disks[0].nested[1].volume", "StorageVolume", "b"),
        ("slots[x].volume", "StorageVolume", "c"),
        ("root.volume", "StorageVolume", "d"),
    ]


def test_masked_hides_every_secret_and_nothing_else(sample: dict[str, type]) -> None:
    message = box(
        sample,
        pin=1234,
        secrets={"k": "s3", "l": "s4"},
        disks=[{"target": "a", "passphrase": "s1", "nested": [{"passphrase": "s2"}]}],
        slots={"x": {"passphrase": "s5", "bus": "ide"}},
        root={"passphrase": "s6"},
    )
    message.keys.extend([b"s7", b"s8"])
    before = message.SerializeToString(deterministic=True)
    shown = spec.masked(message)
    assert message.SerializeToString(deterministic=True) == before
    assert not any(f"s{n}" in str(shown) for n in range(1, 9))
    assert "1234" not in str(shown)
    assert dict(shown.secrets) == {"k": spec.MASK, "l": spec.MASK}
    assert list(shown.keys) == [spec.MASK.encode()] * 2
    assert (shown.path, shown.slots["x"].bus, shown.disks[0].target) == ("/b", "ide", "a")
    assert not shown.HasField("pin")


def test_a_sensitive_message_is_hidden_whole() -> None:
    file = sample_file()
    root = next(f for f in file.message_type[1].field if f.name == "root")
    root.options.Extensions[options_pb2.rules].sensitive = True
    shown = spec.masked(
        box(classes(file, extension_known=True), root={"target": "t", "size": 5, "nested": [{"bus": "x"}]})
    )
    assert (shown.root.target, shown.root.nested[0].bus) == (spec.MASK, spec.MASK)
    assert not shown.root.HasField("size")


def test_json_fields_hold_json() -> None:
    jsons = classes(sample_file(json=True, max_length=60), extension_known=True)
    for text in ('{"a": [1, null]}', '"\\n\\u0085"', '"\x85"', "3"):
        assert found(box(jsons, extra=text)) == {}
    assert found(box(jsons, extra='{"a":{"b":1,"b":2}}')) == {
        "extra": "the key 'b' stands twice in one object"
    }
    assert found(box(jsons, extra='{"a":[99999999999999999999]}')) == {
        "extra": "a[0]: an integer beyond 64 bits can't be carried"
    }
    assert found(box(jsons, extra=f'"{"x" * 60}"')) == {"extra": "is 62 bytes long, at most 60 are allowed"}
    secret = classes(sample_file(json=True, sensitive=True), extension_known=True)
    assert found(box(secret, extra='{"hush":')) == {"extra": "holds no JSON value"}
