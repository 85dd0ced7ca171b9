"""Files of variables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.homelab.compose.environment import Wrong, parse


def test_forms() -> None:
    text = (
        "\ufeff# comment\nA=1\nexport B = 2 # note\nC='$A # x'\nD=\"$A\\n${B}\"\nE=\nF=a#b\nGIVEN\nABSENT\n"
        'G="two\nlines"\n'
    )
    found = parse(text, {"GIVEN": "g"})
    assert found == {
        "A": "1",
        "B": "2",
        "C": "$A # x",
        "D": "1\n2",
        "E": "",
        "F": "a#b",
        "GIVEN": "g",
        "G": "two\nlines",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A: b", "b"),
        ("A: b=c", "b=c"),
        (r"A='it\'s'", "it's"),
        (r'A="a\tb\\n\0101\x07"', "a\tb\\nA\\x07"),
        (r"A=a\tb", r"a\tb"),
        (r'A="\$B"', "$B"),
        ("A=^x$", "^x$"),
        ('A="a # b" # c', "a # b"),
    ],
)
def test_values_as_compose_reads_them(text: str, value: str) -> None:
    assert parse(text, {}) == {"A": value}


@pytest.mark.parametrize(
    "line", ["canary", "=canary", "A=canary\0", "A=x$canary", "A=${X:?canary}", "A='canary"]
)
def test_what_is_wrong_with_secrets_shows_none(line: str) -> None:
    with pytest.raises(Wrong, match="line 2") as raised:
        parse(f"B=1\n{line}", {}, secret=True)
    assert "canary" not in str(raised.value)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text, {}, secret=True)
    except Wrong:
        return
    assert all(name and "=" not in name for name in found)


@pytest.mark.parametrize("text", ["=1", "A B", 'A="open', "A=${X}", "=2", "A='open\\'"])
def test_what_is_wrong(text: str) -> None:
    with pytest.raises(Wrong, match="line 1"):
        parse(text, {})
