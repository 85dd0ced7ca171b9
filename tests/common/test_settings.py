from __future__ import annotations

from pathlib import Path

import pytest

from common import settings


def test_a_service_reads_only_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCC_VM_URI", "test:///default")
    monkeypatch.setenv("NCC_SYSTEM_X", "1")

    assert settings.service_environment("vm") == {"uri": "test:///default"}


def test_a_service_elsewhere_is_found_there(tmp_path: Path) -> None:
    chosen = settings.ServeSettings(
        socket=tmp_path / "nixcc.sock", service_sockets={"vm": tmp_path / "other.sock"}
    )

    assert chosen.service_socket("vm") == tmp_path / "other.sock"
    assert chosen.service_socket("system") == tmp_path / "system.sock"
