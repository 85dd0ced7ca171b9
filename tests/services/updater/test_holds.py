from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import WrongState
from services.updater.holds import Holds
from services.updater.models import Hold


def test_kept_by_flake(tmp_path: Path) -> None:
    path = tmp_path / "deep/holds.json"
    holds = Holds(path)
    assert holds.all() == {}
    assert holds.set("/etc/nixos#a", Hold(hold=True))
    assert not holds.set("/etc/nixos#a", Hold(hold=True))
    holds.set("/etc/nixos#a/b", Hold(pin="f" * 40))
    holds.set("/etc/nixos2#a", Hold(hold=True))
    assert Holds(path).of("/etc/nixos") == {"a": Hold(hold=True), "a/b": Hold(pin="f" * 40)}
    assert holds.set("/etc/nixos#a", Hold())
    assert not holds.set("/etc/nixos#a", Hold())
    assert holds.of("/etc/nixos") == {"a/b": Hold(pin="f" * 40)}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1}', '{"a": {"pin": ""}}'])
def test_damaged_record_is_no_licence_to_update(tmp_path: Path, text: str) -> None:
    """What was held must not move because nobody can read that it is."""
    (tmp_path / "holds.json").write_text(text)
    with pytest.raises(WrongState, match=r"holds\.json"):
        Holds(tmp_path / "holds.json").of("/etc/nixos")
