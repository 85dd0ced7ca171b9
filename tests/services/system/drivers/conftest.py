"""What a backup needs: a key, and a folder with some of everything."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from archives import IDENTITY
from services.system.backup.models import Key


@pytest.fixture
def key(tmp_path: Path) -> Key:
    path = tmp_path / "key"
    path.write_text(f"# a comment, as age-keygen writes one\n{IDENTITY}\n")
    return Key(str(path))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with some of everything."""
    folder = tmp_path / "tree"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "text").write_text("hello\n")
    (folder / "deep/er/secret").write_bytes(random.Random(1).randbytes(300_000))
    (folder / "deep/er/secret").chmod(0o400)
    (folder / "empty").touch()
    (folder / "link").symlink_to("deep/er/secret")
    (folder / "dangling").symlink_to("/no/such/file")
    (folder / "closed").mkdir()
    (folder / "closed/x").write_text("x")
    (folder / "closed").chmod(0o500)
    with open(folder / "sparse", "wb") as stream:
        stream.seek(3 << 20)
        stream.write(b"end")
        stream.truncate(5 << 20)
    return folder
