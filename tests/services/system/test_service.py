"""What vital signs mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.system.models import Facts, FileSystem, Pressure, RebootState, Vitals
from services.system.service import problems, reboot_reasons

GIB = 1 << 30
DISK = FileSystem("/", "/dev/x", "ext4", 100 * GIB, 40 * GIB, 1000, 900, False)
WELL = Vitals(
    time=0.0,
    load=(0.1, 0.1, 0.1),
    processors=2,
    pressures=(Pressure("io", (0, 0, 0)),),
    memory_total=8 * GIB,
    memory_available=4 * GIB,
    swap_total=0,
    swap_free=0,
    file_systems=(DISK,),
)
FACTS = Facts(
    "h", "debian", "12", "Debian", "6.1.0-1-amd64", "x86_64", "", "", 0.0, 2, GIB, "systemd", False, "", 0
)


def test_well() -> None:
    assert problems(WELL) == []


@pytest.mark.parametrize(
    ("change", "subject", "critical"),
    [
        ({"failed_units": ("a.service",)}, "unit a.service", True),
        ({"memory_available": GIB // 2}, "memory", False),
        ({"memory_available": GIB // 10}, "memory", True),
        ({"load": (9.0, 5.0, 1.0)}, "load", False),
        ({"pressures": (Pressure("io", (0, 0, 0), (0, 12.0, 0)),)}, "pressure io", False),
        ({"pressures": (Pressure("memory", (0, 0, 0), (0, 50.0, 0)),)}, "pressure memory", True),
        ({"file_systems": (replace(DISK, available=5 * GIB),)}, "disk /", False),
        ({"file_systems": (replace(DISK, available=GIB),)}, "disk /", True),
        ({"file_systems": (replace(DISK, free_inodes=10),)}, "disk /", True),
    ],
)
def test_problem(change: dict[str, object], subject: str, critical: bool) -> None:
    found = problems(replace(WELL, **change))  # type: ignore[arg-type]
    assert [(problem.subject, problem.critical) for problem in found] == [(subject, critical)]


@pytest.mark.parametrize(
    "disk",
    [
        replace(DISK, available=0, read_only=True),
        replace(DISK, total=10_000 * GIB, available=60 * GIB),
        replace(DISK, inodes=0, free_inodes=0),
    ],
)
def test_no_problem(disk: FileSystem) -> None:
    assert problems(replace(WELL, file_systems=(disk,))) == []


def test_gravest_first() -> None:
    found = problems(replace(WELL, load=(9.0, 9.0, 9.0), memory_available=1))
    assert [problem.critical for problem in found] == [True, False]


@pytest.mark.parametrize(
    ("state", "nixos", "words"),
    [
        (RebootState("1"), False, None),
        (RebootState("1", installed_kernel="1"), False, None),
        (RebootState("1", installed_kernel="2"), False, "2 is installed"),
        (RebootState("1", installed_kernel="2"), True, None),
        (RebootState("1", requested=True, requested_by=("libc6",)), False, "asked for by libc6"),
        (RebootState("1", changed_parts=("kernel", "initrd")), True, "another kernel, initrd"),
    ],
)
def test_reboot(state: RebootState, nixos: bool, words: str | None) -> None:
    reasons = reboot_reasons(state, replace(FACTS, nixos=nixos))
    assert len(reasons) == (words is not None)
    assert words is None or words in reasons[0]
