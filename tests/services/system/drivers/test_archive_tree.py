"""Trees: what goes in comes out byte by byte, whatever it is called."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archives import DRIVER, IDENTITY, TO_US, made, picture
from services.system.backup.models import Key
from services.system.drivers.archive import Job
from services.system.drivers.archive_manifest import MANIFEST
from services.system.drivers.archive_tree import Source


def test_a_tree_comes_back_as_it_was(tmp_path: Path, tree: Path, key: Key) -> None:
    archive = made(tmp_path / "b", tree)
    path = Path(archive.path)
    assert archive.size == path.stat().st_size
    assert archive.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.stat().st_mode & 0o777 == 0o600
    contents = DRIVER.restore(path, key, tmp_path / "again", Job())
    assert picture(tmp_path / "again/tree0") == picture(tree)
    assert contents.entries == len(picture(tree))
    restored = tmp_path / "again/tree0"
    assert restored.joinpath("text").stat().st_mtime == pytest.approx(
        tree.joinpath("text").stat().st_mtime, abs=1e-3
    )
    assert restored.joinpath("sparse").stat().st_blocks * 512 < 1 << 20
    assert DRIVER.verify(path, key, Job()) == contents
    assert [one.name for one in (tmp_path / "b").iterdir()] == [path.name]


def test_the_usual_tools_can_read_it(tmp_path: Path, tree: Path) -> None:
    archive = made(tmp_path / "b", tree)
    plain = pyrage.decrypt(Path(archive.path).read_bytes(), [IDENTITY])
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:gz") as tar:
        assert {"tree0/text", "tree0/link", MANIFEST} <= set(tar.getnames())
    assert b"hello" not in Path(archive.path).read_bytes()
    if shutil.which("age"):
        (tmp_path / "key").write_text(str(IDENTITY))
        plain = subprocess.run(
            ["age", "-d", "-i", str(tmp_path / "key"), archive.path], check=True, capture_output=True
        ).stdout
        names = subprocess.run(["tar", "-tz"], input=plain, check=True, capture_output=True).stdout
        assert b"tree0/text\n" in names


# Names that file systems take and people dread.
file_names = st.one_of(
    st.sampled_from(
        [
            b"new\nline",
            b"-rf",
            b" ",
            b"\xff\xfe",
            b"\xc3\xa4\xe2\x82\xac",
            b"a" * 255,
            b"\x01\x7f",
            b"x.age",
            b"x.db",
        ]
    ),
    st.binary(min_size=1, max_size=12).filter(
        lambda name: not set(name) & {0, 47} and name not in (b".", b"..")
    ),
)


nodes = st.recursive(
    st.one_of(
        st.tuples(
            st.just("file"), st.binary(max_size=200), st.sampled_from([0o600, 0o644, 0o444, 0o755, 0o000])
        ),
        st.tuples(st.just("zeros"), st.integers(0, 300_000), st.integers(0, 5)),
        st.tuples(
            st.just("link"), st.binary(min_size=1, max_size=60).filter(lambda target: b"\0" not in target)
        ),
    ),
    lambda inner: st.tuples(
        st.just("folder"),
        st.dictionaries(file_names, inner, max_size=4),
        st.sampled_from([0o700, 0o755, 0o500, 0o1777]),
    ),
    max_leaves=12,
)


def plant(at: bytes, node: Any) -> None:
    if node[0] == "folder":
        os.mkdir(at)
        for name, inner in node[1].items():
            plant(os.path.join(at, name), inner)
        os.chmod(at, node[2])
    elif node[0] == "link":
        os.symlink(node[1], at)
    else:
        with open(at, "wb") as stream:
            if node[0] == "zeros":
                stream.truncate(node[1])
                stream.seek(node[1])
                stream.write(b"\1" * node[2])
            else:
                stream.write(node[1])
        if node[0] == "file":
            os.chmod(at, node[2])


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(file_names, nodes, max_size=6))
def test_any_tree_comes_back(children: dict[bytes, Any]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plant(os.fsencode(folder / "tree"), ("folder", children, 0o755))
        (folder / "key").write_text(str(IDENTITY))
        archive = made(folder / "b", folder / "tree")
        DRIVER.restore(Path(archive.path), Key(str(folder / "key")), folder / "again", Job())
        assert picture(folder / "again/tree0") == picture(folder / "tree")


def test_what_is_left_out(tmp_path: Path, key: Key) -> None:
    folder = tmp_path / "tree"
    (folder / "cache").mkdir(parents=True)
    (folder / "cache/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    (folder / "cache/large").write_text("x")
    os.mkfifo(folder / "fifo")
    (folder / "kept").write_text("x")
    sources = [Source("t", folder, lambda name: name == "no")]
    (folder / "no").write_text("x")
    archive = DRIVER.create(tmp_path / "b", "test", sources, TO_US, None, Job())
    contents = DRIVER.restore(Path(archive.path), key, tmp_path / "again", Job())
    assert sorted(one.name for one in (tmp_path / "again/t").iterdir()) == ["cache", "kept"]
    assert list((tmp_path / "again/t/cache").iterdir()) == []
    assert contents.skipped == ("t/fifo: a socket, a FIFO or a device",)
