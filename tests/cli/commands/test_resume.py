"""What was left alone is put back at once."""

from __future__ import annotations

from typing import Any

from daemons import until


def test_only_what_is_chosen_is_resumed(ncc: Any) -> None:
    ncc.apply(ncc.file("-a"), ncc.file("-b"))
    ncc.out("suspend", "file", "-l", f"test={ncc.name}")
    for suffix in ("-a", "-b"):
        (ncc.folder / f"f{suffix}").write_text("hacked\n")

    assert ncc.out("resume", "file", f"{ncc.name}-a") == f"File/{ncc.name}-a resumed\n"

    until(lambda: (ncc.folder / "f-a").read_text() == "hello\n")
    assert (ncc.folder / "f-b").read_text() == "hacked\n"
    assert ncc.item(suffix="-b")["policy"]["suspend_until"]
    assert "suspend_until" not in ncc.item(suffix="-a").get("policy", {})


def test_what_was_not_suspended_stays_as_it_is(ncc: Any) -> None:
    ncc.apply(ncc.file())
    before = ncc.item()["metadata"]["generation"]

    assert ncc.run("resume", "file", ncc.name).returncode == 0

    assert ncc.item()["metadata"]["generation"] == before


def test_a_kind_that_there_is_not(ncc: Any) -> None:
    done = ncc.run("resume", "fiel")
    assert (done.returncode, done.stdout) == (2, "")
    assert "\n  → " in done.stderr
