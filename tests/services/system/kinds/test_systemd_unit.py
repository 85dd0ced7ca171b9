"""Kind SystemdUnit."""

from __future__ import annotations

import pytest

from common import spec as specs
from common.errors import InvalidRequest
from common.manager import Action, Change, Detected
from nixcc.system.v1.systemd_unit_pb2 import SystemdUnit
from services.system.drivers.memory import MemorySystemdDriver
from services.system.kinds.systemd_unit import SystemdUnitKind
from services.system.models import UnitState

UNIT = "web.service"


@pytest.fixture
def kind() -> SystemdUnitKind:
    return SystemdUnitKind(MemorySystemdDriver({UNIT: UnitState(found=True)}))


def wrong(spec: SystemdUnit) -> set[str]:
    specs.fill_defaults(spec)
    kind = SystemdUnitKind(MemorySystemdDriver({}))
    return {found.field for found in specs.violations(spec) or kind.validate("x", spec)}


def made(**fields: object) -> SystemdUnit:
    return SystemdUnit(unit=UNIT, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", ["getty@tty1.service", "a\\x2db.mount", "dev-sda.device", "a_b-c:d.timer"])
def test_good_names(unit: str) -> None:
    assert wrong(SystemdUnit(unit=unit)) == set()


@pytest.mark.parametrize(
    "unit", ["", "web", "../x.service", "a/b.service", "web.exe", "a b.service", "web.service\n"]
)
def test_wrong_names(unit: str) -> None:
    assert wrong(SystemdUnit(unit=unit)) == {"unit"}


def test_name_of_the_resource_is_enough() -> None:
    spec = SystemdUnit(enabled=True)
    assert SystemdUnitKind(MemorySystemdDriver({})).validate(UNIT, spec) == []
    assert spec.unit == UNIT


def test_masked_excludes_the_others() -> None:
    assert wrong(made(masked=True, active=True, enabled=True)) == {"active", "enabled"}
    assert wrong(made(masked=True, active=False, enabled=False)) == set()


def test_wrong_drop_ins() -> None:
    spec = made()
    spec.drop_ins.add(name="a", content="x")
    spec.drop_ins.add(name="a", content="y")
    assert wrong(spec) == {"drop_ins[1].name"}
    spec.drop_ins[1].name = "../a"
    assert wrong(spec) == {"drop_ins[1].name"}
    spec.drop_ins[1].name = "b"
    spec.drop_ins[1].content = "a\0b"
    assert wrong(spec) == {"drop_ins[1].content"}


def test_round(kind: SystemdUnitKind) -> None:
    spec = made(enabled=True, active=True, masked=False, restart_on_change=True)
    spec.drop_ins.add(name="b", content="[Unit]\n")
    spec.drop_ins.add(name="a", content="[Service]\n")
    told: list[str] = []
    assert kind.apply(Change(UNIT, Action.UPDATE, spec, None), lambda m, p: told.append(m)).changed
    assert told == [f"starting {UNIT}"]
    found = kind.detect([UNIT])[UNIT]
    assert isinstance(found, Detected)
    assert [d.name for d in found.spec.drop_ins] == ["a", "b"]
    assert (found.spec.enabled, found.spec.active, found.spec.masked) == (True, True, False)
    assert not kind.apply(Change(UNIT, Action.UPDATE, spec, None), lambda m, p: None).changed


def test_deleting_takes_the_drop_ins_and_leaves_the_rest(kind: SystemdUnitKind) -> None:
    spec = made(active=True)
    spec.drop_ins.add(name="a", content="[Service]\n")
    kind.apply(Change(UNIT, Action.UPDATE, spec, None), lambda m, p: None)
    kind.apply(Change(UNIT, Action.DELETE, None, spec), lambda m, p: None)
    assert kind.detect([UNIT]) == {UNIT: None}
    kind.apply(Change(UNIT, Action.CREATE, made(), None), lambda m, p: None)
    found = kind.detect([UNIT])[UNIT]
    assert isinstance(found, Detected)
    assert (found.spec.active, len(found.spec.drop_ins)) == (True, 0)


def test_failed_unit_is_unhealthy() -> None:
    kind = SystemdUnitKind(MemorySystemdDriver({UNIT: UnitState(found=True, failure="web failed")}))
    found = kind.detect([UNIT])[UNIT]
    assert isinstance(found, Detected)
    assert found.unhealthy == "web failed"


@pytest.mark.parametrize("spec", [made(enabled=False), SystemdUnit(unit="a.slice", enabled=True)])
def test_what_nixos_cannot_have(kind: SystemdUnitKind, spec: SystemdUnit) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kind.render("x", spec)
    assert caught.value.violations[0].field == "enabled"
