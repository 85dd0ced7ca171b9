"""Long actions, seen from any client."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_pass_in_the_background_is_an_operation(ncc: Any) -> None:
    ncc.apply(ncc.file())

    name = ncc.out("reconcile", "file", ncc.name).split()[0]

    assert ncc.out("operation", "wait", name).split()[:2] == [name, "done"]
    assert ncc.json("operation", "get", name)["state"] == "done"
    assert name in [row["name"] for row in ncc.json("operation", "list")["operations"]]
    assert name in ncc.out("operation", "list")
    ncc.out("operation", "delete", name)
    gone = ncc.run("operation", "get", name)
    assert gone.returncode == 5
    assert "\n  → " in gone.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("operation", "get", "absent"), 5),
        (("operation", "cancel", "absent"), 5),
        (("operation", "wait"), 5),
    ],
)
def test_what_is_not_there(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert "\n  → " in done.stderr
