from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.nix.events import Message, Result, Start, Stop, parse

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.log"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_every_recorded_line_is_an_event_or_of_a_kind_to_come(path: Path) -> None:
    lines = path.read_text().splitlines()

    unknown = [line for line in lines if parse(line) is None]

    assert lines
    assert all('"newthing"' in line for line in unknown)


def test_what_the_events_say() -> None:
    assert parse('@nix {"action":"stop","id":7}') == Stop(7)
    start = (
        '@nix {"action":"start","id":1,"level":3,"text":"\\u001b[1mx\\u001b[0m","type":105,"fields":["/d",1]}'
    )
    assert parse(start) == Start(1, 105, "x", ("/d", 1))
    assert parse('@nix {"action":"result","id":1,"type":101,"fields":["line"]}') == Result(1, 101, ("line",))
    error = (
        '@nix {"action":"msg","level":0,"msg":"long","raw_msg":"short","file":"/f.nix","line":3,"column":1}'
    )
    assert parse(error) == Message(0, "short", "/f.nix", 3)
    assert parse("warning: plain text") == Message(3, "warning: plain text")
    assert parse("   ") is None


def test_ids_beyond_53_bits_stay_exact() -> None:
    number = (2**31 << 32) + 5

    assert parse(f'@nix {{"action":"stop","id":{number}}}') == Stop(number)


@given(st.text())
def test_no_line_is_too_strange(text: str) -> None:
    parse(text)
    parse("@nix " + text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_KEYS := ("action", "id")), inner),
    )
)
@example(float("inf"))
@example(10**400)
def test_no_json_is_too_strange(value: object) -> None:
    parse("@nix " + json.dumps(value))
    for action in ("start", "stop", "result", "msg"):
        parse(
            "@nix " + json.dumps({"action": action, "id": value, "type": value, "level": value, "msg": value})
        )
