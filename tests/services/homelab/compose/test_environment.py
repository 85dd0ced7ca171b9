"""Files of variables."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("text", ["=1", "A B", 'A="open', "A=${X}", "1=2"])
def test_what_is_wrong(text: str) -> None:
    with pytest.raises(Wrong, match="line 1"):
        parse(text, {})
