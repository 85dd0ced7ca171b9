from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
import yaml
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cli.kinds import Kinds
from cli.manifest import load
from cli.manifest.folding import Folder
from cli.manifest.nodes import Tree
from cli.manifest.problems import Problem
from cli.manifest.yaml_reader import read_yaml
from cli.presentation import host_facts, resource_to_dict, spec_to_dict, table_cells, to_yaml
from common import json_text
from common.schema import FieldSpec, Shape, SpecType, Value
from nixcc.homelab.v1 import backup_pb2
from nixcc.resource.v1 import options_pb2, resource_pb2

KINDS = Kinds.offline()
TRAPS = [
    "no",
    "Yes",
    "y",
    "N",
    "on",
    "null",
    "~",
    "",
    "1",
    "1.10",
    "0644",
    "0o7",
    "1e3",
    "12:30:45",
    "0x1f",
    ".inf",
]
TEXT = st.one_of(
    st.sampled_from(
        [*TRAPS, "a: b", "- a", "# a", "'", '"', "| x", "a\n", "\n a", " a ", "<<", "=", "!x", "&a", "*a"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t\x85\u2028"), max_size=30),
)


def message(name: str) -> Any:
    info = KINDS.get(name)
    assert info is not None
    return info.message()


def resource(kind: str, spec: Message, **policy: Any) -> resource_pb2.Resource:
    one = resource_pb2.Resource(kind=kind)
    one.metadata.name = "web"
    one.spec.Pack(spec)
    if policy:
        one.policy.CopyFrom(resource_pb2.Policy(**policy))
    return one


@st.composite
def filled(draw: st.DrawFn, descriptor: Any) -> Message:
    """A message of a type with any of its fields set, whether or not a service would take them."""
    from google.protobuf import message_factory

    made = message_factory.GetMessageClass(descriptor)()
    if descriptor.full_name == "google.protobuf.Timestamp":
        # Years 1 to 9999, which the type can say, but for the last second, which means for ever.
        made.seconds = draw(st.integers(-62_135_596_800, 253_402_300_798))
        made.nanos = draw(st.integers(0, 999_999_999))
        return made
    for field in SpecType.of(descriptor).fields:
        if field.rules.sensitive or not draw(st.booleans()):
            continue
        target: Any = getattr(made, field.name)
        if field.shape is Shape.MAP:
            for key in draw(st.lists(TEXT, max_size=3)):
                target[key] = draw(value(field))
        elif field.value is Value.MESSAGE and field.shape is Shape.LIST:
            for element in draw(st.lists(filled(field.element.message_type), max_size=2)):
                target.add().CopyFrom(element)
        elif field.shape is Shape.LIST:
            target.extend(draw(st.lists(value(field), max_size=3)))
        elif field.value is Value.MESSAGE:
            target.SetInParent()
            target.CopyFrom(draw(filled(field.element.message_type)))
        else:
            setattr(made, field.name, draw(value(field)))
    return made


def value(field: FieldSpec) -> st.SearchStrategy[Any]:
    if field.rules.json:
        return st.dictionaries(TEXT, st.lists(TEXT | st.integers(-9, 9) | st.none())).map(json_text.canonical)
    if field.value is Value.INTEGER:
        small = field.element.cpp_type in (field.element.CPPTYPE_INT32, field.element.CPPTYPE_UINT32)
        high = 0o7777 if field.unit == options_pb2.UNIT_FILE_MODE else 2**31 - 1 if small else 2**63 - 1
        return st.integers(0, high)
    if field.value is Value.ENUM:
        return st.sampled_from([one.number for one in field.element.enum_type.values if one.number])
    return {
        Value.STRING: TEXT,
        Value.BYTES: st.binary(max_size=20),
        Value.BOOL: st.booleans(),
        Value.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    }[field.value]


def read_back(text: str, spec: Message) -> list[Problem]:
    problems: list[Problem] = []
    [node] = list(read_yaml(text, Tree("a.yaml")))
    Folder(problems).message(node, spec)
    return problems


@pytest.mark.parametrize("kind", KINDS.names())
def test_what_is_printed_is_read_back_as_it_was(kind: str) -> None:
    descriptor = type(message(kind)).DESCRIPTOR

    @settings(max_examples=60, deadline=None)
    @given(filled(descriptor))
    def check(spec: Message) -> None:
        again = message(kind)
        text = to_yaml(spec_to_dict(spec))

        assert read_back(text, again) == [], text
        assert again == spec, text
        assert yaml.safe_load(text) == spec_to_dict(spec)

    check()


@settings(max_examples=300, deadline=None)
@given(TEXT)
@example("a\n\n")
@example("\n\n a")
@example("a \nb")
@example("x" * 500 + " y")
@example("\ttab\n")
@example("…\N{GRINNING FACE}\n")
def test_every_text_is_read_back(text: str) -> None:
    spec, again = message("File"), message("File")
    spec.content = text

    assert read_back(to_yaml(spec_to_dict(spec)), again) == []
    assert again.content == text


def test_prints_modes_sizes_enums_and_bytes_as_manifests_have_them() -> None:
    file = message("File")
    file.mode, file.data = 0o644, b"\0"
    machine = message("VirtualMachine")
    machine.memory, machine.firmware, machine.running = 2**29, 2, False

    assert spec_to_dict(file) == {"data": "AA==", "mode": "0644"}
    assert spec_to_dict(machine) == {"memory": 2**29, "running": False, "firmware": "UEFI"}


def test_masks_secrets() -> None:
    machine = message("VirtualMachine")
    machine.cloud_init.user_data = "password: hunter2"
    shown = resource_to_dict(resource("VirtualMachine", machine), KINDS)

    assert "hunter2" not in json.dumps(shown)
    assert shown["spec"]["cloud_init"]["user_data"] == "********"


def test_prints_texts_of_several_lines_as_blocks() -> None:
    assert to_yaml({"content": "a\nb\n", "b": "x"}) == "content: |\n  a\n  b\nb: x\n"


def test_prints_a_resource_with_its_status() -> None:
    file = message("File")
    file.path = "/a"
    one = resource(
        "File", file, drift=resource_pb2.DRIFT_POLICY_OBSERVE, suspend_until={"seconds": 253402300799}
    )
    one.status.observed_generation = 2
    one.status.conditions.add(type="Ready", status=resource_pb2.CONDITION_STATUS_TRUE, reason="Applied")
    one.status.detected.Pack(file)
    one.status.drift.add(path="mode", detected_json="384", desired_json="420")

    shown = resource_to_dict(one, KINDS)

    assert shown["policy"] == {"drift": "OBSERVE", "suspend_until": "forever"}
    status = shown["status"]
    assert status["conditions"][0]["status"] == "True"
    assert status["detected"] == {"path": "/a"}
    assert status["drift"] == [{"path": "mode", "detected": 384, "desired": 420}]
    [document] = load(["-"], KINDS, stdin=io.BytesIO(to_yaml({"items": [shown]}).encode()))
    assert document.resource.policy == one.policy
    assert document.resource.spec == one.spec


def test_a_kind_that_nobody_knows_is_shown_as_it_came() -> None:
    one = resource_pb2.Resource(kind="Gone")
    one.spec.type_url, one.spec.value = "type.googleapis.com/x.Gone", b"\1"

    assert resource_to_dict(one, KINDS)["spec"] == {"type_url": "type.googleapis.com/x.Gone", "value": "AQ=="}
    assert table_cells(one, KINDS) == []


def test_a_table_shows_the_columns_of_the_kind() -> None:
    machine = message("VirtualMachine")
    machine.memory, machine.running = 2**29, True

    assert table_cells(resource("VirtualMachine", machine), KINDS) == [
        ("running", "true"),
        ("cpus", "-"),
        ("memory", "512MiB"),
        ("autostart", "-"),
    ]


@given(st.integers(-315_576_000_000 * 10**9, 315_576_000_000 * 10**9))
@example(20_000)
@example(1)
@example(-1)
@example(500_000_000)
@example(10 * 10**9)
@example(123_456_789 * 10**9 + 1)
def test_durations_are_decimal_digits_that_protobuf_reads_back_exactly(nanoseconds: int) -> None:
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(nanoseconds)

    text = spec_to_dict(duration)

    assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?s", text)
    again = duration_pb2.Duration()
    again.FromJsonString(text)
    assert again == duration


def test_what_the_host_alone_knows_is_told_beside_what_was_asked_for() -> None:
    asked = backup_pb2.BackupJob(schedule="30 3 * * *", repository="/r")
    seen = backup_pb2.BackupJob(schedule="30 3 * * *", repository="/r", last_total_bytes=7)
    seen.last_success.FromJsonString("2026-03-02T03:30:00Z")
    one = resource_pb2.Resource(kind="BackupJob")
    one.spec.Pack(asked)
    one.status.detected.Pack(seen)
    kinds = Kinds.offline()

    assert host_facts(one, kinds) == [
        ("last success", "2026-03-02T03:30:00Z"),
        ("last total bytes", "7"),
    ]
    assert dict(table_cells(one, kinds))["schedule"] == "30 3 * * *"
    one.kind = "Unknown"
    assert host_facts(one, kinds) == []
