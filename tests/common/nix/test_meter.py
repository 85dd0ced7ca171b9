from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.nix.meter import ProgressMeter

SAMPLES = Path(__file__).parent / "samples"


def fed(name: str) -> tuple[ProgressMeter, list[tuple[int, str]], list[str]]:
    """The meter, what it told (percent, sentence), and the log."""
    meter = ProgressMeter("building web")
    told = [p for line in (SAMPLES / name).read_text().splitlines() if (p := meter.feed(line)) is not None]
    return meter, [(p.percent, p.message) for p in told], [p.log_line for p in told if p.HasField("log_line")]


def test_a_build_counts_up_and_names_what_it_builds() -> None:
    _, told, log = fed("nix-2.8-ok.log")

    assert (50, "building web: 1 of 2 built, ok-1.0") in told
    assert told[-1] == (99, "building web: 2 of 2 built, ok-1.0")
    assert "dep-2.0> dep" in log
    assert log[-2:] == ["ok-1.0> line one", "ok-1.0> line two"]


def test_expected_counts_that_fall_never_take_the_bar_back() -> None:
    _, told, _ = fed("nix-2.24-substitute.log")

    percents = [percent for percent, _ in told]
    assert percents == sorted(percents)
    assert any("4.0 of 8.0 MiB" in sentence for _, sentence in told)
    assert any("1 of 2 copied" in sentence for _, sentence in told)


def test_the_log_of_what_failed_is_kept() -> None:
    meter, _, _ = fed("nix-2.8-bad.log")

    assert "exit code 3" in meter.errors[-1].text
    assert meter.failed_build("/nix/store/bw00a4843026l401g5wjy63khv6wcjwr-bad-1.0.drv") == [
        "before",
        "broken",
    ]


def test_an_update_of_thousands_of_paths_costs_little_and_tells_little() -> None:
    meter = ProgressMeter("x")
    began = time.process_time()
    told = 0
    for number in range(10, 5_010):
        rows = [
            {
                "action": "start",
                "id": number,
                "level": 3,
                "type": 100,
                "text": "",
                "fields": ["/p", "a", "b"],
            },
            *({"action": "result", "id": number, "type": 105, "fields": [k, 4, 0, 0]} for k in range(5)),
            {"action": "stop", "id": number},
        ]
        told += sum(meter.feed("@nix " + json.dumps(row)) is not None for row in rows)

    assert time.process_time() - began < 5
    assert told < 10
    assert meter.feed("next").message == "x: 0.0 of 0.0 MiB"  # type: ignore[union-attr]


counts = st.integers(-5, 2**40) | st.just(10**400)
lines = st.one_of(
    st.tuples(st.integers(0, 5), st.integers(99, 113)).map(
        lambda t: {"action": "start", "id": t[0], "type": t[1], "text": "x", "level": 0}
    ),
    st.tuples(st.integers(0, 5), st.lists(counts, max_size=5)).map(
        lambda t: {"action": "result", "id": t[0], "type": 105, "fields": t[1]}
    ),
    st.tuples(st.integers(0, 5), st.lists(counts, max_size=3)).map(
        lambda t: {"action": "result", "id": t[0], "type": 106, "fields": t[1]}
    ),
    st.tuples(st.integers(0, 5), st.text()).map(
        lambda t: {"action": "result", "id": t[0], "type": 101, "fields": [t[1]]}
    ),
    st.integers(0, 5).map(lambda number: {"action": "stop", "id": number}),
)


@given(st.lists(lines, max_size=60))
def test_the_percentage_never_passes_100_and_never_falls(rows: list[dict[str, object]]) -> None:
    meter = ProgressMeter("x")
    last = 0
    for row in rows:
        progress = meter.feed("@nix " + json.dumps(row))
        if progress is not None and progress.HasField("percent"):
            assert last <= progress.percent <= 100
            last = progress.percent


@pytest.mark.parametrize(
    "line", ["", "@nix ", "@nix {}", "@nix []", "plain", '@nix {"action":"stop","id":"x"}']
)
def test_lines_without_sense_are_passed_over(line: str) -> None:
    progress = ProgressMeter("x").feed(line)

    assert progress is None or progress.message == "x"
