"""What every driver of files must do alike: on the machine (both ways of resolving paths) and in memory."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import WrongState
from services.system.drivers.base import FileDriver
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.memory import MemoryFileDriver
from services.system.models import FileState, FileType, FileWish

ME = getpass.getuser()


@pytest.fixture(params=["openat2", "walk", "memory"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileDriver]:
    made: FileDriver = (
        MemoryFileDriver()
        if request.param == "memory"
        else LinuxFileDriver(tmp_path, use_openat2=request.param == "openat2")
    )
    yield made
    made.close()


def state(driver: FileDriver, path: str) -> FileState:
    found = driver.read([path])[path]
    assert isinstance(found, FileState), found
    return found


def regular(content: bytes, mode: int | None = None) -> FileWish:
    return FileWish(FileType.REGULAR, content, mode=mode)


def test_absent(driver: FileDriver) -> None:
    paths = ["/a", "/no/such/folder/b"]
    assert driver.read(paths) == dict.fromkeys(paths)


def test_create_makes_parents(driver: FileDriver) -> None:
    assert driver.write("/etc/deep/er/motd", regular(b"hello\n"))
    found = state(driver, "/etc/deep/er/motd")
    assert (found.type, found.content, found.mode) == (FileType.REGULAR, b"hello\n", 0o644)
    parent = state(driver, "/etc/deep")
    assert (parent.type, parent.mode) == (FileType.DIRECTORY, 0o755)


def test_second_write_does_nothing(driver: FileDriver) -> None:
    for wish in (
        regular(b"x", 0o600),
        FileWish(FileType.SYMLINK, target="/nowhere"),
        FileWish(FileType.DIRECTORY, mode=0o700),
    ):
        path = f"/{wish.type.name}"
        assert driver.write(path, wish)
        before = state(driver, path)
        assert driver.write(path, wish) == ""
        assert state(driver, path) == before


@pytest.mark.parametrize("mode", [0o400, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o7777])
def test_mode(driver: FileDriver, mode: int) -> None:
    driver.write("/f", regular(b"x", mode))
    driver.write("/d", FileWish(FileType.DIRECTORY, mode=mode))
    assert (state(driver, "/f").mode, state(driver, "/d").mode) == (mode, mode)


def test_unmanaged_mode_stays(driver: FileDriver) -> None:
    driver.write("/f", regular(b"one", 0o600))
    driver.write("/f", regular(b"two"))
    assert (state(driver, "/f").content, state(driver, "/f").mode) == (b"two", 0o600)


def test_new_content_loses_set_id_bits(driver: FileDriver) -> None:
    driver.write("/f", regular(b"one", 0o6755))
    driver.write("/f", regular(b"two"))
    assert state(driver, "/f").mode == 0o755


def test_mode_alone(driver: FileDriver) -> None:
    driver.write("/f", regular(b"one", 0o600))
    driver.write("/f", regular(b"one", 0o640))
    assert state(driver, "/f").mode == 0o640


def test_symlink(driver: FileDriver) -> None:
    driver.write("/l", FileWish(FileType.SYMLINK, target="../../etc/passwd"))
    assert state(driver, "/l").target == "../../etc/passwd"
    driver.write("/l", FileWish(FileType.SYMLINK, target="/else"))
    assert (state(driver, "/l").type, state(driver, "/l").target) == (FileType.SYMLINK, "/else")


@pytest.mark.parametrize("before", [FileType.REGULAR, FileType.SYMLINK, FileType.DIRECTORY])
@pytest.mark.parametrize("after", [FileType.REGULAR, FileType.SYMLINK, FileType.DIRECTORY])
def test_change_of_type(driver: FileDriver, before: FileType, after: FileType) -> None:
    driver.write("/x", FileWish(before, b"b", "b" if before is FileType.SYMLINK else ""))
    driver.write("/x", FileWish(after, b"a", "a" if after is FileType.SYMLINK else ""))
    assert state(driver, "/x").type is after


def test_full_folder_is_never_removed(driver: FileDriver) -> None:
    driver.write("/d/f", regular(b"precious"))
    for act in (lambda: driver.write("/d", regular(b"x")), lambda: driver.remove("/d")):
        with pytest.raises(WrongState, match="not empty"):
            act()
    assert state(driver, "/d/f").content == b"precious"


def test_parent_that_is_no_folder(driver: FileDriver) -> None:
    driver.write("/f", regular(b"x"))
    with pytest.raises(WrongState, match="no folder"):
        driver.write("/f/g", regular(b"y"))
    assert driver.read(["/f/g"]) == {"/f/g": None}


def test_remove(driver: FileDriver) -> None:
    for wish in (regular(b"x"), FileWish(FileType.SYMLINK, target="t"), FileWish(FileType.DIRECTORY)):
        driver.write("/x", wish)
        assert driver.remove("/x") is True
        assert driver.remove("/x") is False
        assert driver.read(["/x"]) == {"/x": None}
    assert driver.remove("/no/where") is False


def test_owner(driver: FileDriver) -> None:
    driver.write("/f", regular(b"x"))
    assert state(driver, "/f").owner == ("root" if isinstance(driver, MemoryFileDriver) else ME)
    with pytest.raises(WrongState, match=r"no .*no-such-user"):
        driver.write("/g", FileWish(FileType.REGULAR, b"x", owner="no-such-user"))
    assert driver.read(["/g"]) == {"/g": None}


def test_names_of_numbers(driver: FileDriver) -> None:
    assert (driver.owner_name("0"), driver.group_name("0")) == ("root", "root")
    assert (driver.owner_name("3999999999"), driver.owner_name("nobody")) == ("3999999999", "nobody")


def test_hints_for_held_paths_only(driver: FileDriver) -> None:
    from threading import Event

    told: list[str] = []
    arrived = Event()

    def emit(keys: object) -> None:
        assert isinstance(keys, (list, tuple))
        told.extend(keys)
        arrived.set()

    driver.watch(emit)
    driver.hold(["/a/b", "/a/c"])
    driver.drop(["/a/c"])
    driver.write("/a/c", regular(b"x"))
    driver.write("/a/b", regular(b"x"))
    assert arrived.wait(5)
    assert set(told) == {"/a/b"}


# Parts of a path as hostile as Linux allows: anything but a slash and NUL, up to 255 bytes.
PARTS = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda part: part not in (".", "..") and len(part.encode()) <= 255)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PARTS, min_size=1, max_size=3), st.binary(max_size=300))
def test_hostile_names_and_contents_come_back_equal(
    driver: FileDriver, parts: list[str], content: bytes
) -> None:
    path = "/" + "/".join(["sandbox", *parts])
    driver.write(path, regular(content))
    assert state(driver, path).content == content
    assert driver.remove(path)
    while (path := path.rpartition("/")[0]) != "/sandbox":
        driver.remove(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_hostile_targets_come_back_equal(driver: FileDriver, target: str) -> None:
    driver.write("/link", FileWish(FileType.SYMLINK, target=target))
    assert state(driver, "/link").target == target
