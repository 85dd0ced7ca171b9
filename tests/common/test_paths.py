from __future__ import annotations

from pathlib import Path

import pytest

from common import paths
from common.errors import InvalidRequest


def test_a_path_that_no_unix_socket_can_have_is_refused_with_its_length() -> None:
    with pytest.raises(InvalidRequest, match=r"has 1\d\d bytes; Unix sockets allow 107"):
        paths.checked_socket(Path("/tmp") / ("x" * 110) / "s.sock")


def test_bytes_count_not_characters() -> None:
    with pytest.raises(InvalidRequest):
        paths.checked_socket(Path("/tmp") / ("ü" * 60))


def test_users_get_their_xdg_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "is_root", lambda: False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))

    assert paths.default_state_dir() == tmp_path / "state/nixcc"
    assert paths.default_socket() == tmp_path / "run/nixcc/nixcc.sock"

    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert paths.default_socket() == tmp_path / "state/nixcc/run/nixcc.sock"


def test_root_gets_the_machines_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "is_root", lambda: True)

    assert paths.default_state_dir() == Path("/var/lib/nixcc")
    assert paths.default_socket() == Path("/run/nixcc/nixcc.sock")


def test_the_option_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCC_SOCKET", "/run/env.sock")

    assert paths.client_socket() == Path("/run/env.sock")
    assert paths.client_socket("/run/arg.sock") == Path("/run/arg.sock")
