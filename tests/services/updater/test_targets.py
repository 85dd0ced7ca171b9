from __future__ import annotations

import pytest

from common.errors import InvalidRequest, NotFound, WrongState
from services.updater.models import Hold, Input
from services.updater.targets import nested_pins, targets

INPUTS = [
    Input("a", url="x"),
    Input("b", url="y"),
    Input("c", follows="a"),
    Input("b/n", locked="z", revision="1"),
    Input("implicit", locked="flake:implicit", revision="2"),
    Input("nixcc-desired", url="path:/var/lib/nixcc/system/desired"),
]


def test_all_of_its_own() -> None:
    assert targets("/f", INPUTS, [], {}) == (("a", "b", "implicit"), ())


def test_kept() -> None:
    assert targets("/f", INPUTS, [], {"a": Hold(hold=True), "x": Hold(pin="1")}) == (
        ("b", "implicit"),
        ("a",),
    )


def test_named() -> None:
    assert targets("/f", INPUTS, ["b/n", "a", "a"], {"b": Hold(hold=True)}) == (("a", "b/n"), ())


def test_what_is_held_below_what_moves() -> None:
    commit, pin = "a" * 40, "b" * 40
    inputs = [
        Input("a/x", locked="l", revision=commit),
        Input("a/y", locked="l", revision="sha256-z"),
        Input("a/p/q", locked="l", revision=commit),
    ]
    holds = {path: Hold(hold=True) for path in ("a/x", "a/y", "a", "ab/x", "b/x")} | {
        "a/p/q": Hold(pin=pin),
        "a/new": Hold(pin=pin),
    }
    assert nested_pins(inputs, ["a", "c"], holds) == {"a/x": commit, "a/p/q": pin}


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("x", NotFound, "has no input x"),
        ("c", InvalidRequest, "follows a"),
        ("b", WrongState, "pinned to 0123456789ab"),
        ("a", WrongState, "held"),
    ],
)
def test_refused(name: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        targets("/f", INPUTS, [name], {"b": Hold(pin="0123456789abcdef"), "a": Hold(hold=True)})
