"""`ncc diff`: 0 where nothing would change, 3 where something would, and what."""

from __future__ import annotations

import json
from typing import Any

import yaml


def test_equal_is_0_and_a_pending_change_3(ncc: Any) -> None:
    ncc.apply(ncc.file())

    same = ncc.run("diff", "-f", "-", stdin=json.dumps(ncc.file()))
    other = ncc.run("diff", "-f", "-", stdin=json.dumps(ncc.file(content="other\n")))

    assert (same.returncode, same.stdout) == (0, "1 as declared\n")
    assert other.returncode == 3
    assert other.stdout.splitlines()[0] == f"update File/{ncc.name}"
    assert '      - "hello\\n"' in other.stdout.splitlines()
    assert '      + "other\\n"' in other.stdout.splitlines()
    assert (ncc.folder / "f").read_text() == "hello\n"


def test_what_is_not_declared_would_be_created(ncc: Any) -> None:
    for form in ("json", "yaml"):
        done = ncc.run("diff", "-f", "-", "-o", form, stdin=json.dumps(ncc.file()))
        (item,) = yaml.safe_load(done.stdout)["items"]

        assert done.returncode == 3
        assert (item["declared"], item["host"], item["error"]) == ("created", "create", "")


def test_drift_that_is_held_back_is_shown(ncc: Any) -> None:
    watched = ncc.file(drift="OBSERVE")
    ncc.folder.mkdir()
    (ncc.folder / "f").write_text("somebody's\n")
    ncc.run("apply", "-f", "-", stdin=json.dumps(watched))

    done = ncc.run("diff", "-f", "-", stdin=json.dumps(watched))

    assert done.returncode == 3
    assert "somebody's" in done.stdout


def test_pruning_is_shown(ncc: Any) -> None:
    ncc.out("apply", "-f", ncc.write(ncc.file("-a"), ncc.file("-b")), "--set", ncc.name, "--wait")

    done = ncc.run("diff", "-f", ncc.write(ncc.file("-a")), "--set", ncc.name, "--prune")

    assert done.returncode == 3
    assert done.stdout.splitlines() == [f"delete File/{ncc.name}-b", "1 of 2 would change"]


def test_mistakes_have_their_place(ncc: Any) -> None:
    done = ncc.run("diff", "-f", "-", stdin="kind: File\nmetadata: {name: x}\nspec: {paht: /x}\n")

    assert done.returncode == 2
    assert "<stdin>:3:8: " in done.stderr
