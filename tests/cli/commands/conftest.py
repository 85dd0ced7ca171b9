"""Hosts that several commands are tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from updater_flakes import SwitchedHost


@pytest.fixture
def switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[..., None]) -> SwitchedHost:
    require(binary="nix")
    require(binary="git")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    return SwitchedHost(tmp_path)
