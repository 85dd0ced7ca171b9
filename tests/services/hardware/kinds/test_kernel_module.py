from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import spec as specs
from common.manager import Action, Change
from nixcc.hardware.v1 import kinds_pb2
from services.hardware.drivers.memory_objects import MemoryModuleDriver
from services.hardware.kinds.kernel_module import KernelModuleKind

KIND = KernelModuleKind(MemoryModuleDriver())


def _spec(module: str, parameters: dict[str, str] | None = None) -> kinds_pb2.KernelModule:
    spec = kinds_pb2.KernelModule(module=module)
    if parameters is not None:
        spec.parameters.values.update(parameters)
        spec.parameters.SetInParent()
    return spec


def _wrong(spec: kinds_pb2.KernelModule) -> list[str]:
    return [violation.field for violation in (*specs.violations(spec), *KIND.validate("m", spec))]


def test_names_are_written_with_underscores() -> None:
    spec = _spec("kvm-amd", {"nested": "1"})
    assert _wrong(spec) == []
    assert spec.module == "kvm_amd"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (_spec(""), "module"),
        (_spec("-r"), "module"),
        (_spec("../evil"), "module"),
        (_spec("a b"), "module"),
        (_spec("kvm", {"nested": "1\ninstall kvm /bin/sh"}), "parameters.values[nested]"),
        (_spec("kvm", {"nested": "1 options"}), "parameters.values[nested]"),
        (_spec("kvm", {"a b": "1"}), "parameters.values[a b]"),
    ],
)
def test_what_is_wrong(spec: kinds_pb2.KernelModule, field: str) -> None:
    assert any(found.startswith(field.split("[")[0]) for found in _wrong(spec))


@given(st.text(max_size=30))
def test_no_value_gets_out_of_its_line(value: str) -> None:
    spec = _spec("kvm", {"nested": value})
    if not _wrong(spec):
        text: Any = KIND.render("m", spec)["boot"]
        assert text["extraModprobeConfig"].split() == ["options", "kvm", f"nested={value}"]


def test_detects_what_it_applied() -> None:
    kind = KernelModuleKind(MemoryModuleDriver(installed=["kvm"], built_in=["ext4"]))
    spec = _spec("kvm", {"nested": "1"})
    assert kind.apply(Change("kvm", Action.CREATE, spec, None), lambda text, percent: None).changed
    detected: Any = kind.detect(["kvm", "ext4", "xfs"])
    assert dict(detected["kvm"].spec.parameters.values) == {"nested": "1"}
    assert detected["ext4"].spec.module == "ext4"
    assert detected["xfs"] is None
    for name in ("kvm", "ext4"):
        kind.apply(Change(name, Action.DELETE, None, spec), lambda text, percent: None)
    # One that is built in can't go, but is nobody's any more.
    assert kind.detect(["kvm", "ext4"]) == {"kvm": None, "ext4": None}
    kind.apply(Change("ext4", Action.CREATE, _spec("ext4"), None), lambda text, percent: None)
    assert kind.detect(["ext4"])["ext4"] is not None


def test_renders_options_of_nixos(nixos: Any) -> None:
    rendered = KIND.render("m", _spec("kvm_amd", {"nested": "1", "avic": "Y"}))
    assert rendered == {
        "boot": {"kernelModules": ["kvm_amd"], "extraModprobeConfig": "options kvm_amd avic=Y nested=1\n"}
    }
    assert nixos.check(rendered) == 2
    assert KIND.render("m", _spec("loop")) == {"boot": {"kernelModules": ["loop"]}}
