"""The control center's own state, from a real system service."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ControlError, Unsupported
from daemons import daemon
from services.homelab.drivers.own_state import OwnState


def test_an_archive_that_the_password_opens(tmp_path: Path) -> None:
    with daemon(tmp_path) as center:
        password = center.root / "password"
        password.write_text("a long canary passphrase\n")
        password.chmod(0o600)
        folder = center.root / "staging"
        folder.mkdir(mode=0o700)
        OwnState(tmp_path / "system.sock", center.root).archive(folder, str(password))
        [archive] = folder.glob("*.age")
        assert archive.read_bytes().startswith(b"age-encryption.org")
        center.out("backup", "verify", f"/staging/{archive.name}", "--passphrase", "/password")
        with pytest.raises(Unsupported, match="is not in"):
            OwnState(tmp_path / "system.sock", center.root).archive(tmp_path / "elsewhere", str(password))
        with pytest.raises(ControlError, match="absent"):
            OwnState(tmp_path / "system.sock", center.root).archive(folder, str(center.root / "absent"))


def test_a_service_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="own state can't be read"):
        OwnState(tmp_path / "absent.sock", tmp_path).archive(tmp_path / "a", str(tmp_path / "b"))
