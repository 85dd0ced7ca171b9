"""What every driver must do with flakes: the one in memory and Nix with git."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from common.errors import Cancelled, Conflict, ControlError, HostUnavailable, NotFound, WrongState
from services.updater.drivers.base import Candidate, Step
from services.updater.lock_changes import changes
from services.updater.models import Input
from updater_host import FLAKE

World = Any


class Bench:
    """Moves inputs and installs what came out."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder, self.count = world, folder, 0
        self.steps: list[Step] = []

    def candidate(self, *updates: str, **pins: str) -> Candidate:
        self.count += 1
        flakes = self.world.flakes
        return flakes.candidate(
            FLAKE, self.folder / f"copy-{self.count}", updates, pins, self.steps.append, threading.Event()
        )

    def install(self, *updates: str, **pins: str) -> Candidate:
        made = self.candidate(*updates, **pins)
        self.world.flakes.install(FLAKE, made.old, made.new)
        return made

    def inputs(self) -> dict[str, Input]:
        return {one.path: one for one in self.world.flakes.inputs(FLAKE)}


@pytest.fixture
def bench(world: World, tmp_path: Path) -> Bench:
    return Bench(world, tmp_path)


def test_inputs_before_and_after_locking(world: World, bench: Bench) -> None:
    found = bench.inputs()
    assert {name: one.url for name, one in found.items()} == {
        "a": world.url("a"),
        "b": world.url("b"),
        "c": None,
    }
    assert found["c"].follows == "a"
    assert not any(one.locked or one.revision for one in found.values())
    assert world.flakes.lock(FLAKE) == b""
    made = bench.install()
    assert made.old == b""
    found = bench.inputs()
    assert found["a"].revision == world.revisions("a")[0]
    assert found["a"].locked.startswith(world.url("a").partition("?")[0])
    assert found["a"].time is not None
    assert found["a"].line > 0
    assert (found["c"].follows, found["c"].locked) == ("a", "")
    lock = json.loads(world.flakes.lock(FLAKE))
    assert lock["version"] == 7
    assert lock["nodes"]["root"]["inputs"]["c"] == ["a"]


def test_only_what_is_named_moves(world: World, bench: Bench) -> None:
    bench.install()
    old = dict(bench.inputs())
    world.advance("a")
    world.advance("b")
    made = bench.install("a")
    assert bench.inputs()["a"].revision == world.revisions("a")[1]
    assert bench.inputs()["b"] == old["b"]
    found = changes(
        world.flakes.parse(made.old, list(old.values())), world.flakes.parse(made.new, list(old.values()))
    )
    assert [(c.path, c.old_revision, c.new_revision) for c in found] == [("a", *world.revisions("a"))]
    assert found[0].old_time is not None
    assert found[0].new_time is not None


def test_nothing_moves_by_itself(world: World, bench: Bench) -> None:
    bench.install()
    world.advance("a")
    made = bench.candidate()
    assert made.new == made.old
    world.flakes.install(FLAKE, made.old, made.new)


def test_candidate_leaves_the_flake_alone(world: World, bench: Bench) -> None:
    bench.install()
    before, stamp = world.flakes.lock(FLAKE), world.flakes.stamp(FLAKE)
    world.advance("a")
    made = bench.candidate("a")
    assert made.new != made.old == before == world.flakes.lock(FLAKE)
    assert world.flakes.stamp(FLAKE) == stamp


def test_pin_goes_back_and_stays(world: World, bench: Bench) -> None:
    bench.install()
    world.advance("a")
    bench.install("a")
    first = world.revisions("a")[0]
    bench.install(a=first)
    assert bench.inputs()["a"].revision == first
    world.advance("b")
    bench.install("b")
    assert bench.inputs()["a"].revision == first
    bench.install("a")
    assert bench.inputs()["a"].revision == world.revisions("a")[1]


def test_revision_that_is_not_there(world: World, bench: Bench) -> None:
    bench.install()
    before = world.flakes.lock(FLAKE)
    with pytest.raises(ControlError) as caught:
        bench.install(a="f" * 40)
    assert isinstance(caught.value, NotFound), caught.value
    assert world.flakes.lock(FLAKE) == before


def test_input_that_is_gone(world: World, bench: Bench) -> None:
    bench.install()
    world.lose("a")
    with pytest.raises((NotFound, HostUnavailable)):
        bench.candidate("a")


def test_inputs_come_and_go(world: World, bench: Bench) -> None:
    bench.install()
    declared = list(bench.inputs().values())
    world.declare({"a": world.url("a"), "d": world.url("b")})
    made = bench.install()
    found = changes(world.flakes.parse(made.old, declared), world.flakes.parse(made.new, []))
    assert [(c.path, bool(c.before), bool(c.after)) for c in found] == [
        ("b", True, False),
        ("d", False, True),
    ]
    assert set(bench.inputs()) == {"a", "d"}


def test_install_refuses_what_changed_meanwhile(world: World, bench: Bench) -> None:
    first = bench.install()
    world.advance("a")
    second = bench.install("a")
    with pytest.raises(Conflict):
        world.flakes.install(FLAKE, first.new, first.new + b"\n")
    assert world.flakes.lock(FLAKE) == second.new
    world.flakes.install(FLAKE, b"whatever", second.new)  # it is so already


def test_install_of_nothing_removes(world: World, bench: Bench) -> None:
    made = bench.install()
    world.flakes.install(FLAKE, made.new, b"")
    assert world.flakes.lock(FLAKE) == b""


def test_commit(world: World, bench: Bench) -> None:
    bench.install()
    assert world.flakes.check_writable(FLAKE, commit=False) == ""
    made = world.flakes.commit(FLAKE, "flake.lock: first\n\na: x → y\n")
    assert len(made.revision) == 40
    assert not made.warning
    assert world.messages()[-1].startswith("flake.lock: first\n\na: x → y")
    assert world.flakes.commit(FLAKE, "again").revision == ""
    assert world.flakes.check_writable(FLAKE, commit=True) == ""


def test_lock_file_with_changes_of_somebody(world: World, bench: Bench) -> None:
    bench.install()
    world.flakes.commit(FLAKE, "first")
    world.advance("a")
    bench.install("a")
    with pytest.raises(WrongState, match="not committed"):
        world.flakes.check_writable(FLAKE, commit=True)
    world.flakes.check_writable(FLAKE, commit=False)


def test_detached_head(world: World, bench: Bench) -> None:
    bench.install()
    world.flakes.commit(FLAKE, "first")
    world.detach()
    with pytest.raises(WrongState, match="no branch"):
        world.flakes.check_writable(FLAKE, commit=True)
    world.flakes.check_writable(FLAKE, commit=False)


def test_one_at_a_time(world: World) -> None:
    with (
        world.flakes.owned(FLAKE),
        pytest.raises(Conflict, match="runs already"),
        world.flakes.owned(FLAKE),
    ):
        pass
    with world.flakes.owned(FLAKE):
        pass


@pytest.mark.parametrize("call", ["inputs", "lock", "owned", "check_writable", "candidate"])
def test_no_flake(world: World, tmp_path: Path, call: str) -> None:
    nowhere = "/etc/nowhere"
    calls = {
        "inputs": lambda: world.flakes.inputs(nowhere),
        "lock": lambda: world.flakes.lock(nowhere),
        "owned": lambda: world.flakes.owned(nowhere).__enter__(),
        "check_writable": lambda: world.flakes.check_writable(nowhere, True),
        "candidate": lambda: world.flakes.candidate(
            nowhere, tmp_path / "copy", (), {}, print, threading.Event()
        ),
    }
    with pytest.raises(NotFound):
        calls[call]()


def test_cancelled(world: World, tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        world.flakes.candidate(FLAKE, tmp_path / "copy", ("a",), {}, print, cancel)
    assert world.flakes.lock(FLAKE) == b""


@pytest.mark.parametrize(
    "lock",
    [b"{", b"[]", b'{"version": 8, "nodes": {"root": {}}, "root": "root"}', b'{"version": 7}', b"\xff"],
)
def test_broken_lock_file(world: World, lock: bytes) -> None:
    with pytest.raises(WrongState, match="lock file"):
        world.flakes.parse(lock, ())


# Channels.


def test_channel_from_first_to_last(served: Any) -> None:
    channels = served.channels
    assert channels.all() == {}
    channels.set("mine", served.url)
    first = channels.all()["mine"]
    assert (first.name, first.url) == ("mine", served.url)
    assert first.path
    served.publish(2)
    assert channels.all()["mine"] == first
    channels.update([])
    second = channels.all()["mine"]
    assert second.path != first.path
    channels.update(["mine"])
    assert channels.all()["mine"] == second
    assert channels.remove("mine")
    assert not channels.remove("mine")
    assert channels.all() == {}


def test_channels_go_back(served: Any) -> None:
    channels = served.channels
    channels.set("mine", served.url)
    first = channels.all()["mine"].path
    served.publish(2)
    channels.update(["mine"])
    channels.roll_back()
    assert channels.all()["mine"].path == first


def test_lost_channel_changes_nothing(served: Any) -> None:
    channels = served.channels
    channels.set("mine", served.url)
    before = channels.all()
    served.lose()
    with pytest.raises(ControlError):
        channels.update([])
    with pytest.raises(ControlError):
        channels.set("other", served.url)
    assert channels.all() == before
    with pytest.raises(NotFound):
        channels.update(["nothing"])
