"""A pass over the host, asked for."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_pass_says_what_it_did(ncc: Any) -> None:
    ncc.apply(ncc.file())

    done = ncc.json("reconcile", "file", ncc.name, "--wait")

    assert list(done) == ["resources", "changed", "failed", "seconds"]
    assert (done["resources"], done["changed"], done["failed"]) == (1, 0, 0)
    assert 0 < done["seconds"] < 60
    text = ncc.out("reconcile", "file", "-l", f"test={ncc.name}", "--wait")
    assert text.startswith("1 resources looked at in ")


def test_a_pass_with_failures_ends_with_1(ncc: Any) -> None:
    (ncc.daemon.root / ncc.name).write_text("a file where a folder is needed")
    ncc.run("apply", "-f", ncc.write(ncc.file()))

    done = ncc.run("reconcile", "file", ncc.name, "--wait")
    ncc.out("delete", "file", ncc.name, "--orphan", "--wait")

    assert done.returncode == 1
    assert "1 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("reconcile", "fiel", "--wait"), 2),
        (("reconcile", "file", "absent", "--wait"), 5),
    ],
)
def test_what_is_not_there(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert "\n  → " in done.stderr
