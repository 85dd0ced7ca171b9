"""Names of enum values without the prefix that protobuf asks for."""

from __future__ import annotations

import pytest

from cli.enums import names, number, prefix, short
from nixcc.resource.v1 import resource_pb2
from nixcc.vm.v1 import machine_pb2

DRIFT = resource_pb2.DriftPolicy.DESCRIPTOR


def test_prefixes() -> None:
    assert prefix(DRIFT) == "DRIFT_POLICY_"
    assert {prefix(enum) for enum in machine_pb2.DESCRIPTOR.enum_types_by_name.values()} >= {"FIRMWARE_"}


def test_every_name_leads_back_to_its_number() -> None:
    assert "UNSPECIFIED" not in names(DRIFT)
    for name, value in names(DRIFT).items():
        assert short(DRIFT, value) == name
        assert number(DRIFT, name) == value


@pytest.mark.parametrize("text", ["OBSERVE", "observe", "drift-policy-observe", "DRIFT_POLICY_OBSERVE"])
def test_any_way_to_write_it(text: str) -> None:
    assert number(DRIFT, text) == resource_pb2.DRIFT_POLICY_OBSERVE


def test_what_there_is_not() -> None:
    assert number(DRIFT, "frob") is None
    assert number(DRIFT, "unspecified") is None
    assert short(DRIFT, 99) == 99
