"""Archives: what goes in comes out byte by byte; what is damaged, foreign or hostile is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import (
    AlreadyExists,
    Cancelled,
    Forbidden,
    HostUnavailable,
    InvalidRequest,
    NotFound,
    TooLarge,
    WrongState,
)
from services.system.backup.models import SUFFIX, Archive, Encryption, Key
from services.system.drivers import archive_age
from services.system.drivers.archive import ArchiveDriver, Job
from services.system.drivers.archive_tree import MANIFEST, Source, database_problem

IDENTITY = pyrage.x25519.Identity.generate()
TO_US = Encryption((str(IDENTITY.to_public()),))
DRIVER = ArchiveDriver()


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


def made(folder: Path, *trees: Path, encryption: Encryption = TO_US, key: Path | None = None) -> Archive:
    sources = [Source(f"tree{index}", tree) for index, tree in enumerate(trees)]
    return DRIVER.create(folder, "test", sources, encryption, key, Job())


def picture(folder: Path) -> dict[bytes, tuple[Any, ...]]:
    """All that matters of a tree."""
    found: dict[bytes, tuple[Any, ...]] = {}
    root = os.fsencode(folder)
    for at, folders, files in os.walk(root):
        for name in (*folders, *files, b"."):
            path = os.path.join(at, name)
            status = os.lstat(path)
            content: Any = b""
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as stream:
                    content = hashlib.sha256(stream.read()).digest()
            mode = 0 if os.path.islink(path) else status.st_mode
            found[os.path.relpath(path, root)] = (mode, status.st_uid, status.st_gid, content)
    return found


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


def foreign(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], manifest: Any = None) -> None:
    """An archive that somebody else made for our key."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if manifest is not None:
            info = tarfile.TarInfo(MANIFEST)
            text = json.dumps(manifest).encode()
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))
    path.write_bytes(pyrage.encrypt(gzip.compress(raw.getvalue()), [IDENTITY.to_public()]))


def member(name: str, sort: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = sort, target
    return info


EMPTY = {"created": 1.0, "host": "h", "entries": [], "skipped": [], "format": 1}


@pytest.mark.parametrize(
    "members",
    [
        [(member("../out"), b"x")],
        [(member("/tmp/out"), b"x")],
        [(member("a/../../out"), b"x")],
        [(member("d", tarfile.SYMTYPE, ".."), b""), (member("d/out"), b"x")],
        [(member("d", tarfile.SYMTYPE, "/tmp"), b""), (member("d/out"), b"x")],
        [(member("no/folder"), b"x")],
        [(member("twice"), b"x"), (member("twice"), b"y")],
        [(member("link", tarfile.SYMTYPE, "key"), b""), (member("link"), b"y")],
        [(member("hard", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        [(member("device", tarfile.CHRTYPE), b"")],
        [(member("fifo", tarfile.FIFOTYPE), b"")],
        [(member("fine"), b"x")],
        [],
    ],
    ids=lambda members: "-".join(info.name.replace("/", "_") for info, _ in members) or "nothing",
)
def test_what_would_leave_the_folder_or_is_not_in_the_manifest(
    tmp_path: Path, key: Key, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    path = tmp_path / f"test{SUFFIX}"
    before = sorted(one.name for one in tmp_path.iterdir())
    for manifest in (
        None,
        EMPTY,
        {**EMPTY, "format": 99},
        {"a": 1},
        [],
        {**EMPTY, "entries": [{"path": "x"}]},
    ):
        if not members and manifest is EMPTY:
            continue
        foreign(path, members, manifest)
        with pytest.raises(WrongState):
            DRIVER.restore(path, key, tmp_path / "again", Job())
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([*before, path.name])


@pytest.mark.parametrize(
    "raw", [b"", b"no gzip", gzip.compress(b"no tar" * 1000), gzip.compress(b"x" * 5)[:-4]]
)
def test_what_is_no_archive(tmp_path: Path, key: Key, raw: bytes) -> None:
    path = tmp_path / f"test{SUFFIX}"
    path.write_bytes(pyrage.encrypt(raw, [IDENTITY.to_public()]))
    with pytest.raises(WrongState):
        DRIVER.verify(path, key, Job())


def test_a_content_that_is_not_the_manifests(tmp_path: Path, key: Key) -> None:
    digest = hashlib.sha256(b"good").hexdigest()
    entry = {
        "path": "f",
        "type": "file",
        "mode": 0o644,
        "size": 4,
        "sha256": digest,
        "target": "",
        "database": False,
    }
    path = tmp_path / f"test{SUFFIX}"
    foreign(path, [(member("f"), b"good")], {**EMPTY, "entries": [entry]})
    assert DRIVER.verify(path, key, Job()).size == 4
    foreign(path, [(member("f"), b"evil")], {**EMPTY, "entries": [entry]})
    with pytest.raises(WrongState, match="not what it was"):
        DRIVER.verify(path, key, Job())
    foreign(path, [(member("f"), b"good")], {**EMPTY, "entries": [{**entry, "database": True}]})
    with pytest.raises(WrongState, match="database"):
        DRIVER.verify(path, key, Job())


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


def test_a_database_in_use_is_copied_consistently(tmp_path: Path, key: Key) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    path = folder / "state.db"
    writer = apsw.Connection(str(path))
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE t (a, b)"):
        writer.execute(statement)
    ended = threading.Event()
    count = [0]

    def write() -> None:
        while not ended.is_set():
            # Each transaction leaves both columns' sums equal.
            writer.execute("BEGIN; INSERT INTO t VALUES (1, 0); INSERT INTO t VALUES (0, 1); COMMIT")
            count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(4):
            archive = made(tmp_path / "b", folder)
            contents = DRIVER.restore(Path(archive.path), key, tmp_path / f"again{number}", Job())
            assert contents.databases == 1
            restored = tmp_path / f"again{number}/tree0"
            assert [one.name for one in restored.iterdir()] == ["state.db"]
            found = apsw.Connection(str(restored / "state.db"))
            total, left, right = found.execute("SELECT count(*), sum(a), sum(b) FROM t").get
            found.close()
            assert left == right == total // 2
    finally:
        ended.set()
        thread.join()
        writer.close()
    assert count[0] > 0


def test_a_damaged_database_is_told_while_backing_up(tmp_path: Path, key: Key) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    path = folder / "state.db"
    writer = apsw.Connection(str(path))
    writer.execute("CREATE TABLE t (a)")
    writer.executemany("INSERT INTO t VALUES (?)", [(f"{n}" * 50,) for n in range(2_000)])
    writer.close()
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(raw)
    assert database_problem(path)
    sources = [Source("t", folder, sound=frozenset({"state.db"}))]
    with pytest.raises(WrongState, match="damaged"):
        DRIVER.create(tmp_path / "b", "test", sources, TO_US, None, Job())
    assert list((tmp_path / "b").iterdir()) == []
    # One that nothing depends on is taken as it is.
    archive = made(tmp_path / "b", folder)
    DRIVER.restore(Path(archive.path), key, tmp_path / "again", Job())
    assert (tmp_path / "again/tree0/state.db").read_bytes() == path.read_bytes()


def test_the_locks_of_this_process_are_kept(tmp_path: Path) -> None:
    """Closing a descriptor of the file would drop them (fcntl(2)): another process could then change it."""
    folder = tmp_path / "tree"
    folder.mkdir()
    path = folder / "state.db"
    ours = apsw.Connection(str(path))
    ours.execute("PRAGMA journal_mode = WAL")
    ours.execute("CREATE TABLE t (a)")
    ours.execute("INSERT INTO t VALUES (1)")

    def locks() -> list[str]:
        inode = f":{path.stat().st_ino} "
        return sorted(
            line.split(" ", 1)[1] for line in Path("/proc/locks").read_text().splitlines() if inode in line
        )

    before = locks()
    assert before
    archive = made(tmp_path / "b", folder)
    assert Path(archive.path).exists()
    assert locks() == before
    path.open("rb").close()
    assert locks() == []  # as it would have been
    ours.close()


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


def test_nothing_is_overwritten(tmp_path: Path, tree: Path, key: Key) -> None:
    path = Path(made(tmp_path / "b", tree).path)
    with pytest.raises(AlreadyExists):
        DRIVER.restore(path, key, tree, Job())
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(AlreadyExists):
        DRIVER.restore(path, key, tmp_path / "dangling", Job())


def test_a_folder_is_replaced_in_one_step_and_kept(tmp_path: Path) -> None:
    (tmp_path / "fresh/sub").mkdir(parents=True)
    (tmp_path / "fresh/sub/a").write_text("new")
    (tmp_path / "fresh/l").symlink_to("sub")
    place = tmp_path / "etc/nixos"
    assert DRIVER.replace(tmp_path / "fresh", place) is None
    assert picture(place) == picture(tmp_path / "fresh")
    (place / "sub/a").write_text("old")
    former = DRIVER.replace(tmp_path / "fresh", place)
    assert former is not None
    assert (former / "sub/a").read_text() == "old"
    assert (place / "sub/a").read_text() == "new"
    second = DRIVER.replace(tmp_path / "fresh", place)
    assert second != former
    assert sorted(one.name for one in place.parent.iterdir()) == sorted(["nixos", former.name, second.name])  # type: ignore[union-attr]


def test_a_cancelled_job_leaves_nothing(tmp_path: Path, tree: Path, key: Key) -> None:
    path = Path(made(tmp_path / "b", tree).path)

    def cancelled(after: int) -> Job:
        event, count = threading.Event(), [0]

        def tell(_: str) -> None:
            count[0] += 1
            if count[0] == after:
                event.set()

        return Job(tell, event)

    work: list[Callable[[], object]] = [
        lambda: DRIVER.create(tmp_path / "b", "test", [Source("t", tree)], TO_US, None, cancelled(3)),
        lambda: DRIVER.verify(path, key, cancelled(3)),
        lambda: DRIVER.restore(path, key, tmp_path / "again", cancelled(3)),
        lambda: DRIVER.restore(path, key, tmp_path / "again", cancelled(12)),
    ]
    for job in work:
        with pytest.raises(Cancelled):
            job()
    assert [one.name for one in (tmp_path / "b").iterdir()] == [path.name]
    assert not (tmp_path / "again").exists()
    assert not list(tmp_path.glob(".nixcc*"))


def test_two_jobs_in_one_folder(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.system.drivers.archive.WAIT", 0.2)

    def second(_: str) -> None:
        with pytest.raises(HostUnavailable, match="another backup job"):
            made(tmp_path / "b", tree)

    DRIVER.create(tmp_path / "b", "test", [Source("t", tree)], TO_US, None, Job(second))


def test_a_job_waits_for_another_one(tmp_path: Path, tree: Path) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(_: str) -> None:
        started.set()
        assert go.wait(10)

    first = threading.Thread(
        target=lambda: DRIVER.create(tmp_path / "b", "a", [Source("t", tree)], TO_US, None, Job(slow))
    )
    first.start()
    assert started.wait(10)

    def told(message: str) -> None:
        go.set()
        messages.append(message)

    messages: list[str] = []
    DRIVER.create(tmp_path / "b", "b", [Source("t", tree)], TO_US, None, Job(told))
    first.join()
    assert messages[0].startswith("waiting for another job")
    assert len(list((tmp_path / "b").iterdir())) == 2


def test_two_archives_of_one_moment_have_names_of_their_own(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_795_491_225.0)
    assert len({made(tmp_path / "b", tree).path for _ in range(3)}) == 3


@pytest.mark.host
def test_a_full_disk(tmp_path: Path, tree: Path, key: Key, require: Any) -> None:
    require(root=True, binary="mount")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(small)], check=False
    ).returncode:
        require(when=False, reason="file systems can't be mounted here")
    try:
        with pytest.raises(HostUnavailable, match="No space left"):
            made(small, tree)
        assert list(small.iterdir()) == []
        archive = made(tmp_path / "b", tree)
        with pytest.raises(HostUnavailable, match=r"No space left|no room"):
            DRIVER.restore(Path(archive.path), key, small / "again", Job())
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


_RUN = """
import sys
from pathlib import Path
from services.system.backup.models import Encryption, Key
from services.system.drivers.archive import ArchiveDriver, Job
from services.system.drivers.archive_tree import Source
folder, tree, recipient, key, archive = sys.argv[1:]
driver = ArchiveDriver()
if archive:
    driver.restore(Path(archive), Key(key), Path(folder) / "again", Job())
else:
    driver.create(Path(folder), "test", [Source("tree0", Path(tree))], Encryption((recipient,)), None, Job())
"""


def killed(point: str, *arguments: object) -> int:
    environment = {**os.environ, "NCC_FAILPOINTS": f"{point}=kill"}
    command = [sys.executable, "-c", _RUN, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


@pytest.mark.parametrize("point", ["backup.before_finish", "backup.before_rename", "backup.after_rename"])
def test_killed_while_making_one(tmp_path: Path, tree: Path, key: Key, point: str) -> None:
    folder = tmp_path / "b"
    code = killed(point, folder, tree, TO_US.recipients[0], key.identity_file, "")
    assert code == -signal.SIGKILL
    whole = list(folder.glob(f"*{SUFFIX}"))
    assert len(whole) == (1 if point == "backup.after_rename" else 0)
    for path in whole:
        DRIVER.verify(path, key, Job())
    again = made(folder, tree)
    assert sorted(one.name for one in folder.iterdir()) == sorted(
        [*(one.name for one in whole), Path(again.path).name]
    )


def test_killed_while_restoring_one(tmp_path: Path, tree: Path, key: Key) -> None:
    archive = made(tmp_path / "b", tree).path
    target = tmp_path / "place"
    target.mkdir()
    assert killed("backup.before_restored", target, tree, "", key.identity_file, archive) == -signal.SIGKILL
    assert not (target / "again").exists()
    DRIVER.restore(Path(archive), key, target / "again", Job())
    assert [one.name for one in target.iterdir()] == ["again"]
    assert picture(target / "again/tree0") == picture(tree)


def test_killed_right_after_a_folder_was_exchanged(tmp_path: Path) -> None:
    for name in ("fresh", "place"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    script = (
        "import sys; from pathlib import Path; from services.system.drivers.archive import ArchiveDriver; "
        "ArchiveDriver().replace(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "fresh"), str(tmp_path / "place")]
    environment = {**os.environ, "NCC_FAILPOINTS": "backup.exchanged=kill"}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    [former] = tmp_path.glob("place.before-*")

    DRIVER.replace(tmp_path / "fresh", tmp_path / "place")

    assert (tmp_path / "place/file").read_text() == "fresh"
    assert (former / "file").read_text() == "place", "what was there is kept"
    assert not list(tmp_path.glob(".*"))


def test_too_much_for_a_passphrase(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_age, "_MOST_WITH_PASSPHRASE", 1_000)
    (tmp_path / "p").write_text("x")
    with pytest.raises(TooLarge):
        made(tmp_path / "b", tree, encryption=Encryption(passphrase_file="x"), key=tmp_path / "p")
    assert list((tmp_path / "b").iterdir()) == []
