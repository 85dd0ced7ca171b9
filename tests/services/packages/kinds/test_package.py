"""Package on every driver: declared, drifted, moved on, refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import AlreadyExists, InvalidRequest, NotFound, Unsupported, WrongState
from common.manager import Detected
from nixcc.packages.v1 import package_pb2 as pb
from services.packages.drivers.memory import MemoryPackage
from services.packages.kinds.package import PackageKind
from services.packages.models import Edit, Installable
from vm_kinds import converge, delete, look, violations

SYSTEM = pb.PACKAGE_DRIVER_SYSTEM


def quietly(progress: object) -> None:
    """Nobody listens."""


def test_installed_and_removed(bench: Any) -> None:
    assert look(bench.kind, "hello") is None
    done = converge(bench.kind, "hello", pb.Package())
    assert done.message == "installed 1.0"
    assert bench.versions() == {"hello": "1.0"}
    assert bench.kind.enumerate() == ["hello"]

    assert delete(bench.kind, "hello").changed
    assert bench.versions() == {}
    assert not delete(bench.kind, "hello").changed


def test_the_name_is_the_resources_own(bench: Any) -> None:
    converge(bench.kind, "greeter", pb.Package(attribute="hello"))
    converge(bench.kind, "library", pb.Package(attribute="libgreet", flake=bench.flake))
    assert look(bench.kind, "greeter").spec.attribute == "hello"
    assert bench.kind.enumerate() == ["greeter", "library"]
    delete(bench.kind, "greeter")
    assert bench.kind.enumerate() == ["library"]


def test_a_profile_changed_behind_our_back_is_put_right(bench: Any) -> None:
    converge(bench.kind, "hello", pb.Package())
    bench.driver.edit(
        Edit(remove=tuple(bench.driver.elements()), add=(Installable(bench.flake, "libgreet"),)),
        *(quietly, threading.Event(), lambda elements: None),
    )
    assert look(bench.kind, "hello") is None
    assert bench.kind.enumerate() == ["libgreet"], "it can be adopted"

    converge(bench.kind, "hello", pb.Package())
    assert bench.versions() == {"libgreet": "0.3", "hello": "1.0"}, "what others installed stays"


def test_hints_come_when_the_profile_changes(bench: Any) -> None:
    told = threading.Event()
    bench.kind.watch(lambda keys: told.set())
    bench.kind.hold(["hello"])
    bench.driver.edit(
        Edit(add=(Installable(bench.flake, "hello"),)), quietly, threading.Event(), lambda elements: None
    )
    assert told.wait(5)


def test_one_that_is_there_is_taken_over(bench: Any) -> None:
    bench.driver.edit(
        Edit(add=(Installable(bench.flake, "hello"),)), quietly, threading.Event(), lambda elements: None
    )
    generations = len(bench.driver.generations())
    found = look(bench.kind, "hello")
    assert isinstance(found, Detected)
    assert (found.spec.attribute, found.spec.pin) == ("hello", False)

    converge(bench.kind, "hello", pb.Package())
    assert len(bench.driver.generations()) == generations, "nothing was installed anew"


def test_a_lost_or_damaged_record_is_made_anew(bench: Any) -> None:
    converge(bench.kind, "greeter", pb.Package(attribute="hello"))
    path = bench.root / "state/profile.json"
    path.write_text(path.read_text()[:-20])

    kind = PackageKind(bench.made_anew(), bench.generation)
    assert look(kind, "greeter") is None
    assert converge(kind, "greeter", pb.Package(attribute="hello")).message == "taken over from the profile"
    assert len(bench.driver.generations()) == 1
    assert path.with_suffix(".damaged").exists()


def test_the_same_package_twice_is_refused(bench: Any) -> None:
    converge(bench.kind, "hello", pb.Package())
    with pytest.raises(AlreadyExists, match="Package hello has hello"):
        converge(bench.kind, "again", pb.Package(attribute="hello"))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (pb.Package(attribute="absent"), NotFound, "absent"),
        (pb.Package(attribute="unfree"), WrongState, "unfree license"),
        (pb.Package(attribute="hello", flake="/nowhere/at/all"), NotFound, "nowhere"),
        (
            pb.Package(attribute="hello", version=">=9"),
            WrongState,
            "no version of hello is >=9; there are: 1.0",
        ),
        (pb.Package(attribute="hello", version="1.5"), WrongState, "there are: 1.0"),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:40],
)
def test_what_can_not_be_had(bench: Any, spec: pb.Package, error: type, message: str) -> None:
    converge(bench.kind, "libgreet", pb.Package())
    before = bench.driver.elements()
    with pytest.raises(error, match=message) as caught:
        converge(bench.kind, "x", spec)
    assert caught.value.next_step or bench.driver.name == "memory"
    assert bench.driver.elements() == before
    assert look(bench.kind, "x") is None


def test_two_packages_with_the_same_file(bench: Any) -> None:
    converge(bench.kind, "hello", pb.Package())
    with pytest.raises(WrongState, match=r"bin/hello.* the same file of two packages .* priority"):
        converge(bench.kind, "other", pb.Package())
    assert bench.versions() == {"hello": "1.0"}


def test_priority(bench: Any) -> None:
    converge(bench.kind, "hello", pb.Package())
    try:
        converge(bench.kind, "other", pb.Package(priority=4))
    except Unsupported as error:
        assert "Nix 2.8" in error.message
        assert look(bench.kind, "other") is None
    else:
        assert look(bench.kind, "other").spec.priority == 4
    assert bench.versions()["hello"] == "1.0"


def test_outputs(bench: Any) -> None:
    converge(bench.kind, "multi", pb.Package(outputs=["dev", "out"]))
    paths = [path for element in bench.driver.elements() for path in element.store_paths]
    assert sorted(path.rpartition("/")[2].partition("-")[2] for path in paths) == [
        "multi-1.4",
        "multi-1.4-dev",
    ]
    assert {element.version for element in bench.driver.elements()} == {"1.4"}
    converge(bench.kind, "multi", pb.Package(outputs=["dev"]))
    converge(bench.kind, "multi", pb.Package())
    assert len(bench.driver.elements()) == 1


def test_versions(bench: Any) -> None:
    bench.refresh()
    bench.publish(hello=MemoryPackage("hello", "2.0"))
    bench.refresh()
    bench.publish(hello=MemoryPackage("hello", "3.0"))

    converge(bench.kind, "hello", pb.Package(version=">=1.5"))
    assert bench.versions() == {"hello": "3.0"}, "the flake as it is now"
    converge(bench.kind, "hello", pb.Package(version="<3"))
    assert bench.versions() == {"hello": "2.0"}, "the newest revision that the index knows"
    converge(bench.kind, "hello", pb.Package(version="1.*"))
    assert bench.versions() == {"hello": "1.0"}
    with pytest.raises(WrongState, match=r"there are: 3\.0, 2\.0, 1\.0"):
        converge(bench.kind, "hello", pb.Package(version=">5"))
    assert bench.versions() == {"hello": "1.0"}


def test_upgrades_and_pins(bench: Any) -> None:
    converge(bench.kind, "hello", pb.Package())
    converge(bench.kind, "libgreet", pb.Package(pin=True))
    bench.publish(hello=MemoryPackage("hello", "2.0"), libgreet=MemoryPackage("libgreet", "0.4"))

    changed = bench.installation.upgrade([], quietly, threading.Event())

    assert [(delta.name, delta.before, delta.after) for delta in changed] == [("hello", "1.0", "2.0")]
    assert bench.versions() == {"hello": "2.0", "libgreet": "0.3"}
    with pytest.raises(WrongState, match="pinned"):
        bench.installation.upgrade(["libgreet"], quietly, threading.Event())
    with pytest.raises(NotFound):
        bench.installation.upgrade(["absent"], quietly, threading.Event())
    assert bench.installation.upgrade([], quietly, threading.Event()) == []


def test_a_pinned_one_that_somebody_moved_on_is_put_back(bench: Any) -> None:
    converge(bench.kind, "hello", pb.Package(pin=True))
    bench.publish(hello=MemoryPackage("hello", "2.0"))
    bench.driver.edit(
        Edit(remove=tuple(bench.driver.elements()), add=(Installable(bench.flake, "hello"),)),
        *(quietly, threading.Event(), lambda elements: None),
    )
    assert bench.versions() == {"hello": "2.0"}
    assert look(bench.kind, "hello").spec.pin is False

    converge(bench.kind, "hello", pb.Package(pin=True))
    assert bench.versions() == {"hello": "1.0"}


def test_packages_of_the_system_wait_for_the_generation(memory: Any) -> None:
    with pytest.raises(Unsupported, match="no NixOS generations"):
        converge(memory.kind, "firefox", pb.Package(driver=SYSTEM))
    (memory.root / "etc").mkdir()
    (memory.root / "etc/NIXOS").touch()

    done = converge(memory.kind, "firefox", pb.Package(driver=SYSTEM))
    assert done.pending == ("driver",)
    found = look(memory.kind, "firefox")
    assert (found.spec.driver, tuple(found.pending)) == (SYSTEM, ("driver",))
    assert memory.driver.elements() == ()

    options = memory.kind.render("firefox", pb.Package(attribute="firefox", driver=SYSTEM))
    switch(memory.root, "Package", "firefox", options)
    found = look(memory.kind, "firefox")
    assert (found.spec.attribute, tuple(found.pending)) == ("firefox", ())
    assert memory.kind.enumerate() == ["firefox"]


def test_one_that_moves_to_the_system_stays_in_the_profile_until_it_is_there(bench: Any) -> None:
    (bench.root / "etc").mkdir()
    (bench.root / "etc/NIXOS").touch()
    converge(bench.kind, "hello", pb.Package())
    converge(bench.kind, "hello", pb.Package(driver=SYSTEM))
    converge(bench.kind, "libgreet", pb.Package())
    assert set(bench.versions()) == {"hello", "libgreet"}

    options = bench.kind.render("hello", pb.Package(attribute="hello", driver=SYSTEM))
    switch(bench.root, "Package", "hello", options)
    assert look(bench.kind, "hello").spec.driver == SYSTEM
    bench.installation.sweep(quietly, threading.Event())
    assert set(bench.versions()) == {"libgreet"}
    assert look(bench.kind, "hello").spec.driver == SYSTEM


def switch(root: Path, kind: str, name: str, options: Any) -> None:
    """The active generation contains it."""
    folder = root / "run/current-system/etc/nixcc"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"kind": kind, "name": name, "options": options}]
    (folder / "desired.json").write_text(json.dumps({"version": 1, "options": {}, "resources": rows}))


def test_packages_of_the_profile_are_not_rendered(memory: Any) -> None:
    with pytest.raises(InvalidRequest):
        memory.kind.render("hello", pb.Package(attribute="hello"))


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (pb.Package(attribute="a b"), ["attribute"]),
        (pb.Package(attribute="a;rm"), ["attribute"]),
        (pb.Package(attribute="--impure"), ["attribute"]),
        (pb.Package(flake="-x"), ["flake"]),
        (pb.Package(flake="x#y"), ["flake"]),
        (pb.Package(version="newest please"), ["version"]),
        (pb.Package(version=">=1.*"), ["version"]),
        (pb.Package(outputs=["a,b"]), ["outputs[0]"]),
        (pb.Package(priority=-1), ["priority"]),
        (
            pb.Package(driver=SYSTEM, flake="nixpkgs", version=">1", outputs=["dev"], pin=True, priority=3),
            None,
        ),
        (pb.Package(attribute="python3Packages.requests", version=">=2, <3", flake="github:a/b?ref=x"), []),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:40],
)
def test_validation(memory: Any, spec: pb.Package, fields: list[str] | None) -> None:
    expected = ["flake", "version", "priority", "outputs", "pin"] if fields is None else fields
    assert violations(memory.kind, "hello", spec) == expected


@settings(max_examples=2_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40), field=st.sampled_from(["attribute", "flake", "version", "outputs"]))
def test_hostile_strings_are_refused_or_harmless(memory: Any, text: str, field: str) -> None:
    """What is let through reaches Nix as one argument: never an option, never another fragment."""
    spec = pb.Package(attribute="hello")
    if field == "outputs":
        spec.outputs.append(text)
    else:
        setattr(spec, field, text)
    if violations(memory.kind, "hello", spec):
        return
    kept = spec.outputs[0] if field == "outputs" else getattr(spec, field)
    assert not kept.startswith("-")
    assert not set(kept) & set("#^\0\n\"'" if field == "flake" else '#^\0\n"$`{};|&/\\')
    assert kept.isascii() or field == "flake"


@pytest.mark.parametrize("name", ["a@b", "1st", "web:2"])
def test_a_name_that_is_no_attribute_path(memory: Any, name: str) -> None:
    assert violations(memory.kind, name, pb.Package()) == ["attribute"]
    assert violations(memory.kind, name, pb.Package(attribute="hello")) == []


def test_long_attribute_paths_become_plain(memory: Any) -> None:
    spec = pb.Package(attribute="legacyPackages.x86_64-linux.hello")
    assert violations(memory.kind, "x", spec) == []
    assert spec.attribute == "hello"
