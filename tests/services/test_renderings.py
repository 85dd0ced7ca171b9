"""What any service renders, every option of it: NixOS has it and takes such a value."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import nixos_options
from cli.kinds import Kinds
from cli.manifest import load
from common.manager import Context, Renderable
from common.spec import fill_defaults
from nixcc.packages.v1.package_pb2 import PACKAGE_DRIVER_SYSTEM, Package
from services.system.drivers import option_index, option_sources
from services.system.drivers.option_index import OptionIndex
from services.system.options import paths
from services.system.options.validation import validate

EXAMPLES = Path(__file__).resolve().parents[2] / "scripts/reference_examples"
KINDS = Kinds.offline()
NAMES = sorted(point.name for point in entry_points(group="nixcc.services"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> OptionIndex:
    if not nixos_options.LIST.exists():
        pytest.skip(nixos_options.MISSING)
    path = tmp_path_factory.mktemp("options") / "whole.index"
    option_index.build(
        path, option_sources.read(nixos_options.LIST), {"source": str(nixos_options.LIST), "origin": "file"}
    )
    return OptionIndex(path)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_exists_and_takes_the_value(tmp_path: Path, whole: OptionIndex, name: str) -> None:
    for kind, options in rendered(tmp_path, name):
        wrong = [f"{paths.show(found.path)}: {found.description}" for found in validate(whole, options)]
        assert not wrong, kind


def test_something_is_rendered(tmp_path: Path) -> None:
    assert {kind for name in NAMES for kind, _ in rendered(tmp_path / name, name)} >= {
        *("File", "Sysctl", "SystemdUnit", "HostIdentity", "KernelModule", "Mount", "Swap"),
        *("Package", "Substituter", "NixosOptions"),
    }


def rendered(folder: Path, name: str) -> list[tuple[str, Any]]:
    """Options by kind: of each kind's example in the reference."""
    [point] = entry_points(group="nixcc.services", name=name)
    with ThreadPoolExecutor(1) as executor:
        settings = {"uri": "test:///default", "engine": "unix:///run/none.sock"}
        service = point.load()(Context(folder / "root", folder / "state", folder / "run", executor, settings))
        try:
            found = []
            for handler in service.kinds:
                kind = handler.spec.DESCRIPTOR.name
                if not isinstance(handler, Renderable):
                    continue
                [document] = load([str(EXAMPLES / f"{kind}.yaml")], KINDS, stdin=io.BytesIO())
                spec = handler.spec()
                assert document.resource.spec.Unpack(spec)
                fill_defaults(spec)
                if isinstance(spec, Package):
                    # That of the reference stays in the control center's own profile.
                    spec = Package(attribute="jq", driver=PACKAGE_DRIVER_SYSTEM)
                assert not handler.validate(document.resource.metadata.name, spec)
                found.append((kind, handler.render(document.resource.metadata.name, spec)))
            return found
        finally:
            service.close()
