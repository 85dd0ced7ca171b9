from __future__ import annotations

from pathlib import Path

import pytest

from updater_host import Host, memory_host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return memory_host(tmp_path)
