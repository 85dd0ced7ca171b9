"""Kind File: what is refused, what is normalised, and the way through detect and apply on both drivers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import spec as specs
from common.errors import ControlError
from common.manager import Action, Applied, Change, Detected, Renderable, Watchable
from nixcc.system.v1.file_pb2 import File
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.memory import MemoryFileDriver
from services.system.kinds.file import FileKind
from services.system.models import FileType, FileWish


@pytest.fixture(params=["linux", "memory"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileKind]:
    driver = MemoryFileDriver() if request.param == "memory" else LinuxFileDriver(tmp_path)
    yield FileKind(driver)
    driver.close()


def wrong(kind: FileKind, spec: File) -> set[str]:
    """Fields refused by the field rules and the kind together, as the service runs them."""
    specs.fill_defaults(spec)
    return {found.field for found in specs.violations(spec) or kind.validate("x", spec)}


def do(kind: FileKind, action: Action, spec: File, key: str = "") -> Applied:
    desired = None if action is Action.DELETE else spec
    return kind.apply(Change(key or spec.path, action, desired, None), lambda message, percent=None: None)


def seen(kind: FileKind, path: str) -> Detected[File]:
    found = kind.detect([path])[path]
    assert isinstance(found, Detected), found
    return found


def test_the_readme_s_manifest(kind: FileKind) -> None:
    spec = File(path="/etc/motd", content="hello\n", mode=0o644)
    assert wrong(kind, spec) == set()
    assert kind.detect(["/etc/motd"]) == {"/etc/motd": None}
    assert do(kind, Action.CREATE, spec).changed
    detected = seen(kind, "/etc/motd").spec
    assert (detected.content, detected.mode, detected.directory) == ("hello\n", 0o644, False)
    assert not do(kind, Action.UPDATE, spec).changed
    assert do(kind, Action.DELETE, spec).changed
    assert not do(kind, Action.DELETE, spec).changed


def test_has_the_optional_parts() -> None:
    kind = FileKind(MemoryFileDriver())
    assert isinstance(kind, Watchable)
    assert isinstance(kind, Renderable)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "etc/motd",
        "-rf",
        "/etc/../passwd",
        "/etc/./motd",
        "/..",
        "/etc//motd",
        "//etc/motd",
        "/etc/motd/",
        "/etc/mo\0td",
        "/etc/mo\ntd",
        "/etc/\x1b[2J",
        "/" + "x" * 256,
        "/" + "x/" * 2100 + "y",
        "/proc/sys/kernel/hostname",
        "/sys/x",
        "/dev/null",
        "/etc/.nixcc-0123456789abcdef.tmp",
    ],
)
def test_wrong_paths(kind: FileKind, path: str) -> None:
    assert wrong(kind, File(path=path, content="x")) == {"path"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (File(path="/f"), "content"),
        (File(path="/f", content="x", symlink="y"), "content"),
        (File(path="/f", content="", directory=True), "content"),
        (File(path="/f", content="x", data=b"y"), "content"),
        (File(path="/f", symlink=""), "symlink"),
        (File(path="/f", symlink="x", mode=0o777), "mode"),
        (File(path="/f", content="x", mode=0o10000), "mode"),
        (File(path="/f", content="a\0b"), "content"),
        (File(path="/f", content="x" * (1 << 20) + "y"), "content"),
        (File(path="/f", data=b"x" * ((1 << 20) + 1)), "data"),
        (File(path="/f", content="x", owner="-rf"), "owner"),
        (File(path="/f", content="x", group="a b"), "group"),
        (File(path="/f", content="x", owner="4294967295"), "owner"),
    ],
)
def test_wrong_specs(kind: FileKind, spec: File, field: str) -> None:
    assert field in wrong(kind, spec)


def test_bytes_that_are_text_become_content(kind: FileKind) -> None:
    spec = File(path="/f", data="grüße\n".encode())
    assert wrong(kind, spec) == set()
    assert (spec.content, spec.HasField("data")) == ("grüße\n", False)
    spec = File(path="/f", data=b"\xff\0")
    assert wrong(kind, spec) == set()
    assert spec.data == b"\xff\0"


def test_numbers_with_names_become_names(kind: FileKind) -> None:
    spec = File(path="/f", content="x", owner="0", group="0")
    assert wrong(kind, spec) == set()
    assert (spec.owner, spec.group) == ("root", "root")


def test_number_that_has_a_name_meanwhile(tmp_path: Path, require: object) -> None:
    """The desired spec says 0 (stored before that number had a name): one Apply that does nothing settles it."""
    require(root=True)  # type: ignore[operator]
    kind = FileKind(LinuxFileDriver(tmp_path))
    spec = File(path="/f", content="x", owner="0")
    do(kind, Action.CREATE, spec)
    assert seen(kind, "/f").spec.owner == "root"
    assert not do(kind, Action.UPDATE, spec).changed
    assert (seen(kind, "/f").spec.owner, seen(kind, "/f").spec.group) == ("0", "root")


def test_special_file_is_unhealthy(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "f")
    kind = FileKind(LinuxFileDriver(tmp_path))
    found = seen(kind, "/f")
    assert "FIFO" in found.unhealthy
    assert not found.spec.HasField("content")


def test_too_large_is_different(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * ((1 << 20) + 1))
    found = seen(FileKind(LinuxFileDriver(tmp_path)), "/f").spec
    assert not found.HasField("content")
    assert not found.HasField("data")


def test_types_differ_in_a_field_that_is_compared(kind: FileKind) -> None:
    for desired in (
        File(path="/x", directory=True),
        File(path="/x", content="c"),
        File(path="/x", symlink="s"),
    ):
        assert wrong(kind, desired) == set()
        do(kind, Action.REPLACE, desired)
        found = seen(kind, "/x").spec
        for descriptor, value in desired.ListFields():
            assert getattr(found, descriptor.name) == value


CONTENT = st.one_of(
    st.builds(lambda text: File(content=text), st.text(max_size=300)),
    st.builds(lambda data: File(data=data), st.binary(max_size=300)),
    st.builds(lambda target: File(symlink=target), st.text(max_size=300)),
)
PATH = st.text(alphabet=st.sampled_from("/.ab-~'\"\\%$`;\n\t\0é\u202e🦊* "), max_size=30)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PATH, CONTENT)
def test_anything_comes_back_equal_or_is_refused(kind: FileKind, path: str, part: File) -> None:
    comes_back_or_is_refused(kind, path, part)


@pytest.mark.soak
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(PATH, CONTENT)
def test_twenty_thousand_come_back_equal_or_are_refused(kind: FileKind, path: str, part: File) -> None:
    comes_back_or_is_refused(kind, path, part)


def comes_back_or_is_refused(kind: FileKind, path: str, part: File) -> None:
    spec = File(path="/sandbox" + path)
    spec.MergeFrom(part)
    if wrong(kind, spec):
        return
    try:
        do(kind, Action.CREATE, spec)
    except ControlError:
        return  # an earlier example's file stands where this one needs a folder, or the other way round
    found = seen(kind, spec.path).spec
    for descriptor, value in spec.ListFields():
        assert getattr(found, descriptor.name) == value
    do(kind, Action.DELETE, spec)
    assert kind.detect([spec.path]) == {spec.path: None}


def test_folder_that_is_not_empty_is_kept() -> None:
    driver = MemoryFileDriver()
    driver.write("/d/f", FileWish(FileType.REGULAR, b"x"))
    with pytest.raises(ControlError, match="not empty"):
        do(FileKind(driver), Action.DELETE, File(), "/d")
