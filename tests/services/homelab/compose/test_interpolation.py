"""Variables in values."""

from __future__ import annotations

import pytest

from services.homelab.compose.interpolation import Wrong, text

GIVEN = {"A": "1", "EMPTY": "", "NAME": "A"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("plain", "plain"),
        ("$A-${A}", "1-1"),
        ("$$A", "$A"),
        ("${X:-d}${X-d}${EMPTY:-d}${EMPTY-d}", "ddd"),
        ("${A:+r}${EMPTY:+r}${EMPTY+r}${X+r}", "rr"),
        ("${X:-${Y:-${A}}}", "1"),
        ("${X:-}", ""),
        ("${A?no}", "1"),
        ("${X:-a}b}", "ab}"),
        ("^a$ $(id) $5 $}", "^a$ $(id) $5 $}"),
    ],
)
def test_forms(value: str, found: str) -> None:
    assert text(value, GIVEN) == found


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("$X", "X is not set"),
        ("${X}", "X is not set"),
        ("${X:?say why}", "X must be set: say why"),
        ("${EMPTY:?}", "EMPTY must be set"),
        ("${", "without its }"),
        ("${}", "names no variable"),
        ("${A!x}", "no form"),
        ("${X:-" * 30 + "}" * 30, "too deep"),
    ],
)
def test_what_is_wrong(value: str, says: str) -> None:
    with pytest.raises(Wrong, match=says):
        text(value, GIVEN)
