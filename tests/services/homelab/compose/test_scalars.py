"""Values in compose's forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.homelab.compose import scalars
from services.homelab.compose.scalars import Wrong


@pytest.mark.parametrize(
    ("convert", "value", "found"),
    [
        (scalars.size, "512m", 512 * 1024**2),
        (scalars.size, "1.5gb", 1536 * 1024**2),
        (scalars.size, 64, 64),
        (scalars.size, "10", 10),
        (scalars.size, "2KiB", 2048),
        (scalars.milliseconds, "1m30s", 90_000),
        (scalars.milliseconds, "500ms", 500),
        (scalars.milliseconds, "1.5s", 1500),
        (scalars.milliseconds, "0", 0),
        (scalars.words, "sh -c 'a b'", ["sh", "-c", "a b"]),
        (scalars.words, ["a", 1], ["a", "1"]),
        (scalars.pairs, ["A=1", "B", "C=x=y"], {"A": "1", "B": None, "C": "x=y"}),
        (scalars.pairs, {"A": 1, "B": None, "C": True}, {"A": "1", "B": None, "C": "true"}),
        (scalars.boolean, "true", True),
        (scalars.integer, "12", 12),
        (scalars.number, "0.5", 0.5),
        (scalars.strings, None, []),
    ],
)
def test_forms(convert: Callable[[Any], Any], value: Any, found: Any) -> None:
    assert convert(value) == found


@pytest.mark.parametrize(
    ("convert", "value"),
    [
        (scalars.size, "many"),
        (scalars.size, -1),
        (scalars.size, True),
        (scalars.size, "999999999t"),
        (scalars.milliseconds, "soon"),
        (scalars.milliseconds, "1m x"),
        (scalars.milliseconds, "99999w"),
        (scalars.words, "sh 'open"),
        (scalars.boolean, "perhaps"),
        (scalars.integer, True),
        (scalars.integer, 2**70),
        (scalars.number, "nan"),
        (scalars.string, {}),
        (scalars.mapping, []),
        (scalars.sequence, {}),
    ],
)
def test_what_is_wrong(convert: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(Wrong):
        convert(value)
