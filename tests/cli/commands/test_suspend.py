"""Resources that are left alone for a while."""

from __future__ import annotations

from typing import Any

import pytest

from daemons import until


def test_what_is_suspended_is_left_alone_until_resumed(ncc: Any) -> None:
    ncc.apply(ncc.file())
    path = ncc.folder / "f"

    assert ncc.out("suspend", "file", ncc.name, "--for", "1h") == f"File/{ncc.name} suspended\n"
    path.write_text("hacked\n")
    until(
        lambda: (
            ncc.daemon.ready("File", ncc.name) == ("Unknown", "Suspended") or "Suspended" in str(ncc.item())
        )
    )
    assert ncc.json("reconcile", "file", ncc.name, "--wait")["changed"] == 0
    assert path.read_text() == "hacked\n"

    assert ncc.out("resume", "file", "-l", f"test={ncc.name}") == f"File/{ncc.name} resumed\n"
    until(lambda: path.read_text() == "hello\n")


def test_a_suspension_ends_by_itself(ncc: Any) -> None:
    ncc.apply(ncc.file())

    ncc.out("suspend", "file", ncc.name, "--for", "600ms")
    (ncc.folder / "f").write_text("hacked\n")

    until(lambda: (ncc.folder / "f").read_text() == "hello\n")


def test_a_wrong_duration(ncc: Any) -> None:
    for text in ("-1s", "soon", "1x"):
        done = ncc.run("suspend", "file", ncc.name, f"--for={text}")
        assert done.returncode == 2
        assert text in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("suspend", "file", "absent"), 5),
    ],
)
def test_what_is_not_there(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run(*arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert "\n  → " in done.stderr
