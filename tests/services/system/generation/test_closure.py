from __future__ import annotations

import pytest

from services.system.generation import closure
from services.system.generation.models import PackageChange

_HASH = "0" * 32


def path(name: str) -> str:
    return f"/nix/store/{_HASH}-{name}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bash-5.2p26", ("bash", "5.2p26")),
        ("bash-interactive-5.2p26-man", ("bash-interactive", "5.2p26")),
        ("linux-6.12.8", ("linux", "6.12.8")),
        ("python3.12-requests-2.32.3", ("python3.12-requests", "2.32.3")),
        ("unit-nscd.service", ("unit-nscd.service", "")),
        ("nixos-system-web-26.05.1234", ("nixos-system-web", "26.05.1234")),
        ("x", ("x", "")),
        ("glibc-2.40-66-bin", ("glibc", "2.40-66")),
    ],
)
def test_names_are_split_as_nix_does(name: str, expected: tuple[str, str]) -> None:
    assert closure.parse_name(path(name)) == expected


def test_a_store_elsewhere_is_fine() -> None:
    assert closure.parse_name(f"/tmp/store/{_HASH}-a-1") == ("a", "1")


def test_packages_that_came_went_and_changed() -> None:
    old = {path("bash-5.1"): 100, path("gone-1"): 7, path("same-3"): 5, path("unit-x.service"): 1}
    new = {path("bash-5.2"): 120, path("bash-5.2-man"): 10, path("new-2"): 9, path("same-3"): 5}

    assert closure.compare(old, new) == (
        PackageChange("bash", ("5.1",), ("5.2",), 30),
        PackageChange("gone", ("1",), (), -7),
        PackageChange("new", (), ("2",), 9),
    )


def test_several_versions_side_by_side() -> None:
    old = {path("zlib-1.2"): 1, path("zlib-1.3"): 1}

    assert closure.compare(old, {path("zlib-1.3"): 1}) == (
        PackageChange("zlib", ("1.2", "1.3"), ("1.3",), -1),
    )
