"""The committed code is what the contracts generate, and it works on the runtime that is installed."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-protos/bin/python"
GENERATED = ROOT / "protos/gen"


def test_committed_code_is_what_the_protos_generate(tmp_path: Path, require: Callable[..., None]) -> None:
    require(when=PYTHON.exists(), reason="the generator is not installed: run make protos")
    done = subprocess.run(
        [PYTHON, ROOT / "scripts/generate_protos.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    fresh, committed = contents(tmp_path), contents(GENERATED)
    assert sorted(fresh) == sorted(committed), "run make protos"
    assert [name for name in fresh if fresh[name] != committed[name]] == [], "run make protos"


def contents(folder: Path) -> dict[str, bytes]:
    """Path below `folder` -> content, without what Python caches."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "nixcc").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.mark.parametrize(
    "module",
    sorted(
        str(path.relative_to(GENERATED).with_suffix("")).replace(os.sep, ".")
        for path in GENERATED.rglob("*_pb2*.py")
    ),
)
def test_generated_module_imports(module: str) -> None:
    assert importlib.import_module(module).__name__ == module


@pytest.fixture(scope="module")
def image() -> descriptor_pb2.FileDescriptorSet:
    return descriptor_pb2.FileDescriptorSet.FromString((GENERATED / "nixcc/api.binpb").read_bytes())


def test_image_holds_every_contract_and_what_it_imports(image: descriptor_pb2.FileDescriptorSet) -> None:
    names = {file.name for file in image.file}
    protos = ROOT / "protos"
    assert {str(path.relative_to(protos)) for path in (protos / "nixcc").rglob("*.proto")} <= names
    assert {name for file in image.file for name in file.dependency} <= names


def test_image_has_our_comments_and_nobody_else_s(image: descriptor_pb2.FileDescriptorSet) -> None:
    for file in image.file:
        assert file.HasField("source_code_info") == file.name.startswith("nixcc/"), file.name
