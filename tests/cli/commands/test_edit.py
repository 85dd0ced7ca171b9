"""`ncc edit` with programs for editors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import daemons
from daemons import until


def _editor(ncc: Any, body: str) -> dict[str, str]:
    """The environment in which an editor runs this Python; `path` and `text` are the file's."""
    script = ncc.scratch / "editor.py"
    script.write_text(
        f"import pathlib, sys\npath = pathlib.Path(sys.argv[1])\ntext = path.read_text()\n{body}"
    )
    return {"VISUAL": "", "EDITOR": f"{sys.executable} {script}"}


def test_a_change_is_applied(ncc: Any) -> None:
    ncc.apply(ncc.file())

    done = ncc.run(
        "edit", "file", ncc.name, env=_editor(ncc, "path.write_text(text.replace('hello', 'edited'))")
    )

    assert (done.returncode, done.stdout) == (0, f"File/{ncc.name} configured\n")
    until(lambda: (ncc.folder / "f").read_text() == "edited\n")


@pytest.mark.parametrize("body", ["", "path.write_text('')", "path.write_text('#! note\\n' + text)"])
def test_no_change_is_no_change(ncc: Any, body: str) -> None:
    ncc.apply(ncc.file())
    before = ncc.item()["metadata"]["revision"]

    done = ncc.run("edit", "file", ncc.name, env=_editor(ncc, body))

    assert (done.returncode, done.stdout) == (0, "nothing changed\n")
    assert ncc.item()["metadata"]["revision"] == before


def test_a_mistake_is_refused(ncc: Any) -> None:
    ncc.apply(ncc.file())

    done = ncc.run(
        "edit", "file", ncc.name, env=_editor(ncc, "path.write_text(text.replace('content', 'contnt'))")
    )

    assert done.returncode == 2
    assert "did you mean content?" in done.stderr
    assert (ncc.folder / "f").read_text() == "hello\n"


def test_nothing_is_overwritten_that_changed_meanwhile(ncc: Any) -> None:
    ncc.apply(ncc.file())
    newer = ncc.write(ncc.file(content="newer\n"), name="newer.json")
    meanwhile = (
        f"import subprocess\nsubprocess.run([{daemons.NCC!r}, 'apply', '-f', {newer!r}], check=True)\n"
    )

    done = ncc.run(
        "edit",
        "file",
        ncc.name,
        env=_editor(ncc, meanwhile + "path.write_text(text.replace('hello', 'mine'))"),
    )

    assert done.returncode == 6
    assert "\n  → " in done.stderr
    until(lambda: (ncc.folder / "f").read_text() == "newer\n")


def test_an_editor_that_fails_or_is_not_there(ncc: Any) -> None:
    ncc.apply(ncc.file())

    failed = ncc.run("edit", "file", ncc.name, env=_editor(ncc, "path.write_text('x'); sys.exit(3)"))
    absent = ncc.run("edit", "file", ncc.name, env={"VISUAL": "", "EDITOR": "/nonexistent/editor"})

    for done in (failed, absent):
        assert done.returncode != 0
        assert "\n  → " in done.stderr
    assert "nothing was changed" in failed.stderr
    assert "/nonexistent/editor" in absent.stderr


def test_what_was_edited_is_not_left_behind(ncc: Any) -> None:
    ncc.apply(ncc.file())
    place = ncc.scratch / "where"

    ncc.run("edit", "file", ncc.name, env=_editor(ncc, f"pathlib.Path({str(place)!r}).write_text(str(path))"))

    assert subprocess.run(["test", "-e", place.read_text()], check=False).returncode == 1
