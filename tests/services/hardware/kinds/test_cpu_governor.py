from __future__ import annotations

from typing import Any

import pytest

from common import spec as specs
from common.errors import InvalidRequest
from common.manager import Action, Change, Watchable
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.memory_objects import MemoryGovernorDriver
from services.hardware.kinds.cpu_governor import CpuGovernorKind
from services.hardware.models.states import GovernorState

OFFERED = ("performance", "powersave")


def _kind() -> CpuGovernorKind:
    names = ("policy0", "policy4")
    return CpuGovernorKind(
        MemoryGovernorDriver(
            {name: GovernorState(name, "powersave", 400000, 4000000, OFFERED) for name in names}
        )
    )


def _spec(**fields: Any) -> kinds_pb2.CpuGovernor:
    spec = kinds_pb2.CpuGovernor(**fields)
    specs.fill_defaults(spec)
    return spec


def test_the_default_is_all_policies() -> None:
    spec = _spec(governor="performance")
    assert specs.identity(spec, "cpu") == "all"
    assert list(specs.violations(spec)) == []
    assert not isinstance(_kind(), Watchable)
    wrong = _kind().validate("cpu", _spec(governor="performance", minimum_khz=2, maximum_khz=1))
    assert [violation.field for violation in wrong] == ["minimum_khz"]
    assert specs.violations(_spec(governor="x", policy="cpu0"))


def test_sets_and_gives_back() -> None:
    kind = _kind()
    spec = _spec(governor="performance", maximum_khz=3000000)
    kind.apply(Change("all", Action.UPDATE, spec, None), lambda text, percent: None)
    detected: Any = kind.detect(["all", "policy4", "policy9"])
    assert (detected["all"].spec.governor, detected["all"].spec.maximum_khz) == ("performance", 3000000)
    assert detected["policy4"].spec.governor == "performance"
    assert detected["policy9"] is None
    assert not kind.apply(Change("all", Action.UPDATE, spec, spec), lambda text, percent: None).changed
    kind.apply(Change("all", Action.DELETE, None, spec), lambda text, percent: None)
    detected = kind.detect(["all", "policy4"])
    assert detected["all"] is None
    assert (detected["policy4"].spec.governor, detected["policy4"].spec.maximum_khz) == ("powersave", 4000000)


def test_refuses_what_is_not_offered() -> None:
    for fields in ({"governor": "ondemand"}, {"governor": "performance", "policy": "policy9"}):
        spec = _spec(**fields)
        with pytest.raises(InvalidRequest):
            _kind().apply(Change(spec.policy, Action.UPDATE, spec, None), lambda text, percent: None)


def test_renders_options_of_nixos(nixos: Any) -> None:
    rendered = _kind().render("cpu", _spec(governor="performance", minimum_khz=400000, maximum_khz=3000000))
    assert rendered == {
        "powerManagement": {"cpuFreqGovernor": "performance", "cpufreq": {"min": 400000, "max": 3000000}}
    }
    assert nixos.check(rendered) == 3
    with pytest.raises(InvalidRequest):
        _kind().render("cpu", _spec(governor="performance", policy="policy0"))
