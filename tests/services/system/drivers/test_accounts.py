"""Names and numbers of users and groups."""

from __future__ import annotations

import pytest

from common.errors import WrongState
from services.system.drivers.accounts import Accounts


def test_names_and_numbers() -> None:
    accounts = Accounts()
    assert (accounts.user(0), accounts.group(0)) == ("root", "root")
    assert (accounts.user(3999999999), accounts.group(3999999999)) == ("3999999999", "3999999999")
    assert (accounts.uid("root"), accounts.uid("1234"), accounts.gid("root"), accounts.gid("77")) == (
        0,
        1234,
        0,
        77,
    )


def test_unknown_names() -> None:
    accounts = Accounts()
    with pytest.raises(WrongState, match="no user nosuch; create"):
        accounts.uid("nosuch")
    with pytest.raises(WrongState, match="no group nosuch; create"):
        accounts.gid("nosuch")


def test_remembered_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [100.0], []

    def getpwuid(uid: int) -> object:
        asked.append(uid)
        raise KeyError(uid)

    monkeypatch.setattr("services.system.drivers.accounts.pwd.getpwuid", getpwuid)
    monkeypatch.setattr("services.system.drivers.accounts.time.monotonic", lambda: now[0])
    accounts = Accounts()
    for seconds, times in ((0, 1), (1, 1), (4, 1), (6, 2)):
        now[0] = 100.0 + seconds
        accounts.refresh()
        accounts.user(7)
        assert len(asked) == times, seconds
