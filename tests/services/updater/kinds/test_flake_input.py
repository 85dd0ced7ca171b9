from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from common.errors import ControlError, NotFound, WrongState
from common.manager import Action, Change, Detected
from nixcc.updater.v1.flake_input_pb2 import FlakeInput
from services.updater.kinds.flake_input import FlakeInputKind, nix_text
from services.updater.models import Hold
from updater_host import FLAKE, A, Host, revision

KEY = f"{FLAKE}#a"


@pytest.fixture
def kind(host: Host) -> Iterator[FlakeInputKind]:
    made = FlakeInputKind(host.driver, host.holds, host.cycle, lambda: [FLAKE, "/nowhere"], seconds=0.01)
    yield made
    made.close()


def report(message: str, percent: int | None) -> None:
    """Nobody listens."""


def apply(kind: FlakeInputKind, spec: FlakeInput, action: Action = Action.UPDATE) -> str:
    spec.pin = spec.pin
    spec.hold = spec.hold
    return kind.apply(Change(spec.input, action, spec, None), report).message


def seen(kind: FlakeInputKind, key: str = KEY) -> Detected[FlakeInput]:
    found = kind.detect([key])[key]
    assert isinstance(found, Detected)
    return found


def test_detected(kind: FlakeInputKind) -> None:
    spec = seen(kind).spec
    assert spec == FlakeInput(
        input=KEY, url=A, pin="", hold=False, revision=revision(1), modified="2023-11-14T22:13:20Z"
    )
    assert seen(kind, f"{FLAKE}#c").spec.follows == "a"
    assert kind.detect([f"{FLAKE}#x", "/nowhere#a"]) == {f"{FLAKE}#x": None, "/nowhere#a": None}


def test_listed(kind: FlakeInputKind) -> None:
    assert list(kind.enumerate()) == [f"{FLAKE}#{name}" for name in "abc"]


def test_hold(kind: FlakeInputKind, host: Host) -> None:
    assert apply(kind, FlakeInput(input=KEY, hold=True)) == "a is held"
    assert "was so already" in apply(kind, FlakeInput(input=KEY, hold=True))
    assert seen(kind).spec.hold
    host.run()
    assert host.locked("a") == revision(1)
    apply(kind, FlakeInput(input=KEY))
    host.run()
    assert host.locked("a") == revision(2)


def test_pin(kind: FlakeInputKind, host: Host) -> None:
    host.run()
    assert apply(kind, FlakeInput(input=KEY, pin=revision(1))) == "a is pinned to 000000000000"
    assert (host.locked("a"), seen(kind).spec.pin) == (revision(1), revision(1))
    assert host.flake.lock == host.flake.committed
    # Somebody moves it behind our back: that is drift, and is healed.
    made = host.driver.flakes.candidate(FLAKE, host.folder, ("a",), {}, print, host.cancel)
    host.flake.lock = host.flake.committed = made.new
    assert seen(kind).spec.pin == revision(2)
    apply(kind, FlakeInput(input=KEY, pin=revision(1)))
    assert host.locked("a") == revision(1)


def test_pin_to_nothing(kind: FlakeInputKind, host: Host) -> None:
    before = host.flake.lock
    with pytest.raises(NotFound):
        apply(kind, FlakeInput(input=KEY, pin="f" * 40))
    assert host.flake.lock == before


def test_other_address_is_told_with_the_line(kind: FlakeInputKind, host: Host) -> None:
    wanted = 'git+file:///x"${y}'
    with pytest.raises(WrongState) as caught:
        apply(kind, FlakeInput(input=KEY, url=wanted, hold=True))
    assert f'{FLAKE}/flake.nix, line 3 says inputs.a.url = "{A}"' in caught.value.message
    assert caught.value.next_step == 'write there: inputs.a.url = "git+file:///x\\"\\${y}";'
    # What protects is in effect all the same.
    assert host.holds.of(FLAKE) == {"a": Hold(hold=True)}


def test_following_is_told(kind: FlakeInputKind) -> None:
    apply(kind, FlakeInput(input=f"{FLAKE}#c", follows="a"))
    with pytest.raises(WrongState, match=r"no follows of a"):
        apply(kind, FlakeInput(input=KEY, follows="b"))
    with pytest.raises(WrongState, match="follows a"):
        apply(kind, FlakeInput(input=f"{FLAKE}#c", pin=revision(1)))


def test_input_that_flake_nix_lacks(kind: FlakeInputKind) -> None:
    with pytest.raises(NotFound) as caught:
        apply(kind, FlakeInput(input=f"{FLAKE}#x/y", follows="a"), Action.CREATE)
    assert caught.value.next_step == 'add there: inputs.x.inputs.y.follows = "a";'


def test_deleted_is_released(kind: FlakeInputKind, host: Host) -> None:
    apply(kind, FlakeInput(input=KEY, hold=True))
    before = host.flake.lock
    kind.apply(Change(KEY, Action.DELETE, None, None), report)
    assert kind.detect([KEY]) == {KEY: None}
    assert (host.flake.lock, host.holds.of(FLAKE)) == (before, {})
    kind.drop([KEY])
    assert seen(kind).spec.revision == revision(1)


def test_not_locked_yet_is_unhealthy(kind: FlakeInputKind, host: Host) -> None:
    host.flake.declared["d"] = A
    assert "not in the lock file yet" in seen(kind, f"{FLAKE}#d").unhealthy


def test_broken_lock_file_is_an_error_not_absence(kind: FlakeInputKind, host: Host) -> None:
    host.flake.lock = b'{"version": 99}'
    found = kind.detect([KEY])[KEY]
    assert isinstance(found, ControlError)
    assert "version 99" in found.message


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (FlakeInput(input=KEY, url=A, follows="b"), "follows"),
        (FlakeInput(input=KEY, url="https://me:secret@h/x"), "url"),
        (FlakeInput(input=f"{FLAKE}#a/b", url=A), "url"),
        (FlakeInput(input=KEY, follows="b", pin=revision(1)), "pin"),
    ],
)
def test_refused(kind: FlakeInputKind, spec: FlakeInput, field: str) -> None:
    found = kind.validate("x", spec)
    assert [violation.field for violation in found] == [field]
    assert "secret" not in found[0].description


def test_normalised(kind: FlakeInputKind) -> None:
    spec = FlakeInput(input="/etc/nixos/#a", revision="mine")
    assert kind.validate("x", spec) == []
    assert spec == FlakeInput(input=KEY)


def test_hints(kind: FlakeInputKind, host: Host) -> None:
    hints: list[object] = []
    kind.watch(lambda keys: hints.append(list(keys)))
    kind.hold([KEY, "/nowhere#a"])
    deadline = time.monotonic() + 10
    while not hints:
        assert time.monotonic() < deadline
        host.flake.version += 1
        time.sleep(0.02)
    assert hints[0] == [KEY]


def test_text_for_nix() -> None:
    assert nix_text('a"b\\c${d}') == '"a\\"b\\\\c\\${d}"'
