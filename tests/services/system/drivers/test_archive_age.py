"""Encryption: keys that fit and keys that don't; what is cut or flipped is refused."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pyrage
import pytest

from archives import DRIVER, IDENTITY, TO_US, made
from common.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    TooLarge,
    WrongState,
)
from services.system.backup.models import Encryption, Key
from services.system.drivers import archive_age
from services.system.drivers.archive import Job


def test_ssh_keys_and_passphrases(tmp_path: Path, tree: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\nsecond line\n")
    archive = made(tmp_path / "b", tree, encryption=Encryption(passphrase_file="x"), key=passphrase)
    assert DRIVER.verify(Path(archive.path), Key(passphrase_file=str(passphrase)), Job()).entries > 5
    passphrase.write_text("wrong horse\n")
    with pytest.raises(Forbidden, match="passphrase is wrong"):
        DRIVER.verify(Path(archive.path), Key(passphrase_file=str(passphrase)), Job())
    if shutil.which("ssh-keygen"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "ssh")], check=True
        )
        public = (tmp_path / "ssh.pub").read_text().strip()
        archive = made(tmp_path / "c", tree, encryption=Encryption((public,)))
        assert DRIVER.verify(Path(archive.path), Key(str(tmp_path / "ssh")), Job()).entries > 5


def test_every_cut_is_refused(tmp_path: Path, tree: Path, key: Key) -> None:
    (tree / "deep/er/secret").chmod(0o600)
    (tree / "deep/er/secret").write_bytes(random.Random(2).randbytes(150_000))
    path = Path(made(tmp_path / "b", tree).path)
    whole = path.read_bytes()
    for size in (0, 1, 100, 200, 5_000, 65_536 + 200, len(whole) // 2, len(whole) - 16, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(WrongState, match="damaged or was cut off"):
            DRIVER.verify(path, key, Job())
    path.write_bytes(whole + b"x")
    with pytest.raises(WrongState):
        DRIVER.verify(path, key, Job())
    path.write_bytes(whole)
    DRIVER.verify(path, key, Job())
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_every_flipped_bit_is_refused(tmp_path: Path, key: Key) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(random.Random(3).randbytes(70_000))
    path = Path(made(tmp_path / "b", tmp_path / "tree").path)
    whole = path.read_bytes()
    places = random.Random(4).sample(range(len(whole)), 150)
    for place in [*range(0, 240, 5), *places]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        with pytest.raises((WrongState, Forbidden)):
            DRIVER.verify(path, key, Job())
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_keys_that_do_not_fit(tmp_path: Path, tree: Path, key: Key) -> None:
    path = Path(made(tmp_path / "b", tree).path)
    other = tmp_path / "other"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    junk = tmp_path / "junk"
    junk.write_text("AGE-SECRET-KEY-1NONSENSE\n")
    for wrong, kind in (
        (Key(str(other)), Forbidden),
        (Key(str(junk)), InvalidRequest),
        (Key(str(tmp_path / "no")), NotFound),
        (Key(), InvalidRequest),
        (Key(passphrase_file=str(other)), Forbidden),
    ):
        with pytest.raises(kind) as caught:
            DRIVER.verify(path, wrong, Job())
        assert "NONSENSE" not in str(caught.value)
    with pytest.raises(NotFound):
        DRIVER.verify(tmp_path / "b/none", key, Job())


@pytest.mark.parametrize(
    "text",
    ["", "age1", "AGE-SECRET-KEY-1QQQ", "ssh-ed25519 nonsense", str(IDENTITY), "-----BEGIN PRIVATE KEY-----"],
)
def test_recipients_that_are_none(text: str) -> None:
    wrong = archive_age.wrong_recipient(text)
    assert wrong
    assert len(text) < 5 or text not in wrong
    assert archive_age.wrong_recipient(TO_US.recipients[0]) == ""


def test_too_much_for_a_passphrase(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_age, "_MOST_WITH_PASSPHRASE", 1_000)
    (tmp_path / "p").write_text("x")
    with pytest.raises(TooLarge):
        made(tmp_path / "b", tree, encryption=Encryption(passphrase_file="x"), key=tmp_path / "p")
    assert list((tmp_path / "b").iterdir()) == []
