"""Which version of what runs; asked without a daemon."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import pytest

from daemons import Ncc


@pytest.mark.parametrize("word", ["version", "--version"])
def test_versions(tmp_path: Path, word: str) -> None:
    done = Ncc(tmp_path).run(word)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"ncc {version('nixcc')} ")
    assert platform.python_version() in done.stdout
    assert version("grpcio") in done.stdout


def test_it_takes_nothing(tmp_path: Path) -> None:
    assert Ncc(tmp_path).run("version", "web").returncode == 2
