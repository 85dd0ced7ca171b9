"""Files on this machine: what lies in the way, who tries to lead us astray, and what a kill leaves behind."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ControlError, Forbidden, WrongState
from services.system.drivers.file_target import TEMPORARY
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.root import explain
from services.system.models import MAX_CONTENT, FileState, FileType, FileWish

LIBC = ctypes.CDLL(None)
WISH = FileWish(FileType.REGULAR, b"new\n")
BOTH = pytest.mark.parametrize("use_openat2", [True, False])


def temporaries(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if TEMPORARY.fullmatch(name)]


def test_never_blocks_on_special_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    driver = LinuxFileDriver(tmp_path)
    found = driver.read(["/fifo", "/socket"])
    assert all(isinstance(s, FileState) and s.type is FileType.SPECIAL for s in found.values())
    for path in found:
        with pytest.raises(WrongState, match="never replaced"):
            driver.write(path, WISH)
        with pytest.raises(WrongState, match="never replaced"):
            driver.remove(path)
    listener.close()
    assert sorted(os.listdir(tmp_path)) == ["fifo", "socket"]


def test_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would take minutes
    (tmp_path / "limit").write_bytes(b"x" * MAX_CONTENT)
    found = LinuxFileDriver(tmp_path).read(["/big", "/limit"])
    assert isinstance(found["/big"], FileState)
    assert found["/big"].content is None
    assert isinstance(found["/limit"], FileState)
    assert found["/limit"].content == b"x" * MAX_CONTENT


def test_large_file_is_replaced(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(MAX_CONTENT + 1)
    LinuxFileDriver(tmp_path).write("/big", WISH)
    assert (tmp_path / "big").read_bytes() == b"new\n"


@BOTH
@pytest.mark.parametrize("target", ["/etc", "../outside", "sub/../../outside", "/proc/self/root"])
def test_symlink_that_escapes_is_refused(tmp_path: Path, use_openat2: bool, target: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "f").write_text("secret")
    (root / "way").symlink_to(target)
    driver = LinuxFileDriver(root, use_openat2=use_openat2)
    assert isinstance(driver.read(["/way/f"])["/way/f"], Forbidden)
    with pytest.raises(Forbidden, match="root"):
        driver.write("/way/f", WISH)
    with pytest.raises(Forbidden):
        driver.write("/way/new/deep", WISH)
    with pytest.raises(Forbidden):
        driver.remove("/way/f")
    assert os.listdir(outside) == ["f"]
    assert (outside / "f").read_text() == "secret"


def test_symlink_within_the_root_is_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    LinuxFileDriver(tmp_path).write("/var/run/f", WISH)
    assert (tmp_path / "run/f").read_bytes() == b"new\n"


@BOTH
def test_final_symlink_is_replaced_not_followed(tmp_path: Path, use_openat2: bool) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    root = tmp_path / "root"
    root.mkdir()
    (root / "f").symlink_to(victim)
    driver = LinuxFileDriver(root, use_openat2=use_openat2)
    driver.write("/f", FileWish(FileType.REGULAR, b"x", mode=0o600))
    assert victim.read_text() == "untouched"
    assert not (root / "f").is_symlink()


def test_whole_machine_follows_links_of_root_only(tmp_path: Path, require: Callable[..., None]) -> None:
    """With the root `/`, a user must not lead root's daemon where it was not sent."""
    require(root=True)
    (tmp_path / "real/deep").mkdir(parents=True)
    for name, target in {
        "relative": "real/deep",
        "absolute": tmp_path / "real",
        "dotted": "real/deep/../deep",
        "loop": "loop",
        "twice": "relative",
    }.items():
        (tmp_path / name).symlink_to(target)
    driver = LinuxFileDriver(Path("/"))
    for way in ("relative", "absolute", "dotted", "twice"):
        driver.write(f"{tmp_path}/{way}/{way}", WISH)
    assert sorted(os.listdir(tmp_path / "real/deep")) == ["dotted", "relative", "twice"]
    assert sorted(os.listdir(tmp_path / "real")) == ["absolute", "deep"]
    with pytest.raises(Forbidden, match="circles"):
        driver.write(f"{tmp_path}/loop/f", WISH)
    os.chown(tmp_path / "relative", 65534, 65534, follow_symlinks=False)
    for way in ("relative", "twice"):
        with pytest.raises(Forbidden, match="another user"):
            driver.write(f"{tmp_path}/{way}/f", WISH)
        assert isinstance(driver.read([f"{tmp_path}/{way}/f"])[f"{tmp_path}/{way}/f"], Forbidden)


def test_dangling_link_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to("nowhere")
    driver = LinuxFileDriver(tmp_path)
    assert driver.read(["/way/f"]) == {"/way/f": None}
    with pytest.raises(WrongState, match="link to nowhere"):
        driver.write("/way/f", WISH)


@BOTH
def test_race_of_folder_and_symlink_never_escapes(tmp_path: Path, use_openat2: bool) -> None:
    """Somebody swaps a folder on the way with a link out of the root, as fast as possible."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "way").mkdir(parents=True)
    (root / "spare").symlink_to(outside)
    outside.mkdir()
    stop = threading.Event()
    way, spare = os.fsencode(root / "way"), os.fsencode(root / "spare")

    def swap() -> None:
        while not stop.is_set():
            assert LIBC.renameat2(-1, way, -1, spare, 2) == 0  # RENAME_EXCHANGE

    attacker = threading.Thread(target=swap)
    attacker.start()
    driver = LinuxFileDriver(root, use_openat2=use_openat2)
    outcomes: set[str] = set()
    number, deadline = 0, time.monotonic() + 20
    try:
        while (number < 300 or outcomes != {"written", "Forbidden"}) and time.monotonic() < deadline:
            number += 1
            try:
                driver.write("/way/f", FileWish(FileType.REGULAR, str(number).encode()))
                outcomes.add("written")
            except ControlError as error:
                outcomes.add(error.reason)
    finally:
        stop.set()
        attacker.join()
    assert os.listdir(outside) == []
    assert outcomes == {"written", "Forbidden"}


def test_unreadable_name_is_its_own_error(tmp_path: Path) -> None:
    driver = LinuxFileDriver(tmp_path)
    driver.write("/good", WISH)
    long = "/" + "é" * 200
    found = driver.read(["/good", long])
    assert isinstance(found["/good"], FileState)
    assert isinstance(found[long], WrongState)


def test_binary_link_target(tmp_path: Path) -> None:
    os.symlink(b"\xff\xfe", os.fsencode(tmp_path / "l"))
    found = LinuxFileDriver(tmp_path).read(["/l"])["/l"]
    assert isinstance(found, FileState)
    assert found.target == "\ufffd\ufffd"


UNREADABLE = """
import os, sys
from pathlib import Path
from common.errors import Forbidden
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.models import FileState, FileType, FileWish
os.chown(sys.argv[1], 65534, 65534)
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
driver = LinuxFileDriver(Path(sys.argv[1]))
wish = FileWish(FileType.REGULAR, b"x", mode=0o644)
driver.write("/f", wish)
(Path(sys.argv[1]) / "f").chmod(0)
state = driver.read(["/f"])["/f"]
assert isinstance(state, FileState) and state.content is None, state
assert driver.write("/f", wish)
assert driver.read(["/f"])["/f"].content == b"x"
assert isinstance(driver.read(["/theirs"])["/theirs"], Forbidden)
for act in (lambda: driver.write("/f", wish._replace(owner="root")), lambda: driver.write("/theirs", wish)):
    try:
        act()
        raise SystemExit("that was allowed")
    except Forbidden:
        pass
"""


def test_without_root(tmp_path: Path, require: Callable[..., None]) -> None:
    """A daemon of an ordinary user: its own file made unreadable is put back, others' are refused."""
    require(root=True)
    tmp_path.chmod(0o1777)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o711)
    (tmp_path / "theirs").write_text("x")
    (tmp_path / "theirs").chmod(0o600)
    ran = subprocess.run(
        [sys.executable, "-c", UNREADABLE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        LinuxFileDriver(tmp_path).write("/a/f", WISH)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "a/f").stat().st_mode & 0o7777 == 0o644


def test_owner_is_set(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    driver = LinuxFileDriver(tmp_path)
    for path, wish in {
        "/f": FileWish(FileType.REGULAR, b"x", mode=0o4755, owner="nobody", group="3999999999"),
        "/d": FileWish(FileType.DIRECTORY, mode=0o2775, owner="nobody", group="3999999999"),
        "/l": FileWish(FileType.SYMLINK, target="t", owner="nobody", group="3999999999"),
    }.items():
        driver.write(path, wish)
        found = driver.read([path])[path]
        assert isinstance(found, FileState)
        assert (found.owner, found.group) == ("nobody", "3999999999")
        if wish.mode is not None:
            assert found.mode == wish.mode
        os.chown(tmp_path / path[1:], 0, 0, follow_symlinks=False)
        assert driver.write(path, wish)
        assert driver.read([path])[path] == found


def test_unmanaged_owner_stays(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    driver = LinuxFileDriver(tmp_path)
    driver.write("/f", FileWish(FileType.REGULAR, b"x", owner="nobody"))
    driver.write("/f", FileWish(FileType.REGULAR, b"y"))
    found = driver.read(["/f"])["/f"]
    assert isinstance(found, FileState)
    assert found.owner == "nobody"


def test_left_over_temporary_goes_with_the_next_write(tmp_path: Path) -> None:
    driver = LinuxFileDriver(tmp_path)
    name = _temporary_name(tmp_path, "f")
    for left_over in (lambda p: p.write_text("half"), lambda p: p.symlink_to("x")):
        left_over(tmp_path / name)
        driver.write("/f", FileWish(FileType.REGULAR, os.urandom(4)))
        assert temporaries(tmp_path) == []


def test_hold_sweeps_what_nobody_writes(tmp_path: Path) -> None:
    dead, busy = tmp_path / ".nixcc-0123456789abcdef.tmp", tmp_path / ".nixcc-fedcba9876543210.tmp"
    dead.write_text("half")
    busy.write_text("being written")
    (tmp_path / ".nixcc-mine.tmp").write_text("no pattern of ours")
    with busy.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        LinuxFileDriver(tmp_path).hold(["/motd"])
    assert sorted(os.listdir(tmp_path)) == [busy.name, ".nixcc-mine.tmp"]


def test_full_disk_leaves_the_old_file(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], capture_output=True
    )
    require(when=mounted.returncode == 0, reason="tmpfs can't be mounted here")
    try:
        driver = LinuxFileDriver(tmp_path)
        driver.write("/f", FileWish(FileType.REGULAR, b"old"))
        with pytest.raises(ControlError, match="space"):
            driver.write("/f", FileWish(FileType.REGULAR, b"x" * 500_000))
        assert (tmp_path / "f").read_bytes() == b"old"
        assert temporaries(tmp_path) == []
        subprocess.run(["mount", "-o", "remount,ro", tmp_path], check=True)
        with pytest.raises(WrongState, match="read-only"):
            driver.write("/f", WISH)
        with pytest.raises(WrongState, match="read-only"):
            driver.remove("/f")
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_mount_point_is_told(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    (tmp_path / "f").write_text("a")
    (tmp_path / "g").write_text("b")
    mounted = subprocess.run(["mount", "--bind", tmp_path / "f", tmp_path / "g"], capture_output=True)
    require(when=mounted.returncode == 0, reason="bind mounts are not allowed here")
    try:
        with pytest.raises(WrongState, match="mount point"):
            LinuxFileDriver(tmp_path).write("/g", WISH)
    finally:
        subprocess.run(["umount", tmp_path / "g"], check=True)


KILLED = """
import sys
from pathlib import Path
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.models import FileType, FileWish
LinuxFileDriver(Path(sys.argv[1])).write("/f", FileWish(FileType.REGULAR, b"new" * 1000, mode=0o600))
"""


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("point", ["file.before_rename", "file.after_rename"])
def test_kill_leaves_old_or_new(tmp_path: Path, point: str, existing: bool) -> None:
    driver = LinuxFileDriver(tmp_path)
    if existing:
        driver.write("/f", FileWish(FileType.REGULAR, b"old" * 1000))
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env={**os.environ, "NCC_FAILPOINTS": f"{point}=kill"},
        capture_output=True,
        timeout=30,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    found = driver.read(["/f"])["/f"]
    if point == "file.after_rename":
        assert isinstance(found, FileState)
        assert found.content == b"new" * 1000
        assert found.mode == 0o600
    elif existing:
        assert isinstance(found, FileState)
        assert found.content == b"old" * 1000
    else:
        assert found is None
    driver.hold(["/f"])
    assert temporaries(tmp_path) == []


KILLED_LINK = KILLED.replace('FileType.REGULAR, b"new" * 1000, mode=0o600', 'FileType.SYMLINK, target="new"')


def test_kill_while_a_link_is_made(tmp_path: Path) -> None:
    driver = LinuxFileDriver(tmp_path)
    driver.write("/f", FileWish(FileType.SYMLINK, target="old"))
    for point, target in (("before", "old"), ("after", "new")):
        ended = subprocess.run(
            [sys.executable, "-c", KILLED_LINK, str(tmp_path)],
            env={**os.environ, "NCC_FAILPOINTS": f"file.{point}_rename=kill"},
            timeout=30,
            check=False,
        )
        assert ended.returncode == -signal.SIGKILL
        assert os.readlink(tmp_path / "f") == target
    driver.hold(["/f"])
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EIO, "Input/output"),
        (errno.EDQUOT, "quota"),
        (errno.ELOOP, "circles"),
        (errno.EPERM, "lsattr"),
    ],
)
def test_causes_are_told(number: int, text: str) -> None:
    assert text in str(explain(OSError(number, os.strerror(number)), "/f"))


def _temporary_name(folder: Path, name: str) -> str:
    """Seen while a write is under way."""
    from services.system.drivers.file_target import Target

    descriptor = os.open(folder, os.O_PATH)
    try:
        return Target(f"/{name}", descriptor, name)._temporary
    finally:
        os.close(descriptor)


def test_what_a_generation_put_below_etc_is_seen_as_it_was_meant(tmp_path: Path) -> None:
    """NixOS: /etc/motd -> /etc/static/motd -> a text in the store, or the source that was asked for."""
    store = tmp_path / "store"
    static = tmp_path / "store" / "etc"
    static.mkdir(parents=True)
    text = store / ("a" * 32 + "-etc-motd")
    text.write_text("hello\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "static").symlink_to(static)
    (static / "motd").symlink_to(text)
    (static / "link").symlink_to("/run/elsewhere")
    for name in ("motd", "link", "gone"):
        (tmp_path / "etc" / name).symlink_to(f"/etc/static/{name}")
    (tmp_path / "etc" / "astray").symlink_to("/etc/static/../../etc/shadow")
    driver = LinuxFileDriver(tmp_path)

    found = driver.read(["/etc/motd", "/etc/link", "/etc/gone", "/etc/astray"])

    link = found["/etc/link"]
    assert isinstance(link, FileState)
    assert (link.type, link.target) == (FileType.SYMLINK, "/run/elsewhere")
    motd = found["/etc/motd"]
    assert isinstance(motd, FileState)
    assert (motd.type, motd.content) == (FileType.REGULAR, b"hello\n")
    for path in ("/etc/gone", "/etc/astray"):
        state = found[path]
        assert isinstance(state, FileState)
        assert state.type is FileType.SYMLINK
