"""The schema that is compiled from descriptors and options."""

from __future__ import annotations

from typing import Any

import pytest

from common import spec
from nixcc.resource.v1 import options_pb2
from spec_types import classes, sample_file


@pytest.fixture(scope="module", params=[True, False], ids=["extension known", "extension unknown"])
def sample(request: pytest.FixtureRequest) -> dict[str, type]:
    return classes(sample_file(), extension_known=request.param)


def test_schema_is_compiled_once_and_reads_the_options(sample: dict[str, type]) -> None:
    compiled = spec.SpecType.of(sample["Box"].DESCRIPTOR)
    assert compiled is spec.SpecType.of(sample["Box"].DESCRIPTOR)
    assert compiled.is_kind
    assert compiled.kind.plural == "boxes"
    assert not spec.SpecType.of(sample["Disk"].DESCRIPTOR).is_kind
    disks = compiled.by_name["disks"]
    assert (disks.shape, disks.value) == (spec.Shape.LIST, spec.Value.MESSAGE)
    assert (disks.list_rule, disks.rules.list_key) == (options_pb2.LIST_RULE_KEYED, "target")
    assert compiled.by_name["networks"].list_rule == options_pb2.LIST_RULE_ORDERED
    assert compiled.by_name["labels"].shape is spec.Shape.MAP
    assert compiled.by_name["mode"].unit == options_pb2.UNIT_FILE_MODE
    assert compiled.by_name["mode"].default_json == 420
    assert compiled.by_name["count"].default_json is None
    assert compiled.by_name["fast"].enum_names == ("MODE_UNSPECIFIED", "MODE_FAST")
    assert [compiled.by_name[n].oneof for n in ("content", "link", "root", "path")] == ["source"] * 3 + [""]


def test_resolve_finds_fields_with_and_without_elements(sample: dict[str, type]) -> None:
    compiled = spec.SpecType.of(sample["Box"].DESCRIPTOR)
    assert compiled.resolve("disks.size").name == "size"
    assert compiled.resolve("disks[vda].nested[*].bus").name == "bus"
    assert compiled.resolve("labels[a]").name == "labels"
    with pytest.raises(ValueError, match="Disk has no field 'sise'; it has bus, nested"):
        compiled.resolve("disks[vda].sise")
    with pytest.raises(ValueError, match="path has no fields"):
        compiled.resolve("path.x")
    with pytest.raises(ValueError, match="neither a list nor a map"):
        compiled.resolve("path[0]")


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"pattern": "("}, "can't be read"),
        ({"pattern": "(?=a)a"}, "not common to RE2"),
        ({"default_json": "{"}, "the default"),
        ({"default_json": "3"}, "the default"),
        ({"list": options_pb2.LIST_RULE_SET}, "a list rule needs a list"),
        ({"list_key": "x"}, "KEYED and list_key"),
        ({"unit": options_pb2.UNIT_BYTES}, "a unit needs integers"),
    ],
)
def test_contradicting_options_are_refused_when_compiled(rules: dict[str, Any], why: str) -> None:
    sample = classes(sample_file(**rules), extension_known=False)
    with pytest.raises(ValueError, match=why) as caught:
        spec.SpecType.of(sample["Box"].DESCRIPTOR)
    assert "sample.Box.extra" in str(caught.value)


def test_the_generated_contracts_compile_too() -> None:
    compiled = spec.SpecType.of(options_pb2.FieldRules.DESCRIPTOR)
    assert compiled.by_name["minimum"].presence
    assert not compiled.by_name["required"].presence


def test_paths_into_a_json_field_end_at_the_field() -> None:
    spec_type = spec.SpecType.of(classes(sample_file(json=True), extension_known=True)["Box"].DESCRIPTOR)
    for path in ("extra", "extra.a.b", "extra[a].b", "extra[*]"):
        assert spec_type.resolve(path).name == "extra"
    with pytest.raises(ValueError, match="JSON needs strings"):
        spec.SpecType.of(classes(sample_file(json=True, pattern="a"), extension_known=True)["Box"].DESCRIPTOR)
