"""Durations as people write them."""

from __future__ import annotations

import argparse

import pytest

from cli.duration import seconds


@pytest.mark.parametrize(
    ("text", "value"), [("30s", 30), ("2m", 120), ("500ms", 0.5), ("1h30m", 5_400), ("7", 7), ("0.5", 0.5)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "-1s", "soon", "1x", "1.2.3", "s", "1 2s", "∞"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        seconds(text)
