"""What Nix 2.8 says (recorded) and what we make of it; test_program.py asks the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ControlError, HostUnavailable, InvalidRequest, NotFound, WrongState
from common.nix.failures import explained, redacted, told
from common.nix.meter import ProgressMeter

SAMPLES = Path(__file__).parent / "samples"


def failure(name: str) -> ControlError:
    meter = ProgressMeter("x")
    for line in (SAMPLES / f"nix-2.8-{name}.log").read_text().splitlines():
        meter.feed(line)
    return told(meter.errors, "", meter.failed_build)


def test_an_evaluation_error_has_its_place_and_no_trace() -> None:
    error = failure("type")

    assert isinstance(error, InvalidRequest)
    assert str(error).startswith("evaluation failed: cannot add a string to an integer (at flake.nix:6)")


def test_a_missing_attribute_is_not_found() -> None:
    error = failure("nope")

    assert isinstance(error, NotFound)
    assert "does not provide attribute" in str(error)


def test_a_failed_build_shows_the_end_of_its_log() -> None:
    error = failure("bad")

    assert isinstance(error, WrongState)
    assert str(error).startswith(
        "bad-1.0 could not be built: exit code 3\n  bad-1.0> before\n  bad-1.0> broken"
    )
    assert "nix log /nix/store/" in error.next_step


def test_a_wrong_hash_names_both() -> None:
    error = failure("hash")

    assert isinstance(error, WrongState)
    assert "sha256-AAAA" in str(error)
    assert "sha256-c8s4" in str(error)


@pytest.mark.parametrize(
    ("text", "kind", "part"),
    [
        ("error: unable to download 'https://x/y': Couldn't resolve host name (6)", HostUnavailable, "network"),
        ("error: writing to file: No space left on device", HostUnavailable, "no room"),
        ("warning: x\nerror: getting status of '/etc/nope': No such file or directory", NotFound, "/etc/nope"),
        ("error: Package ‘x-1’ has an unfree license (‘unfree’), refusing to evaluate.", WrongState, "unfree"),
        ("error: attribute 'x' missing\n\n       at /etc/nixos/flake.nix:7:3:", NotFound, "/etc/nixos/flake.nix:7"),
        ("", WrongState, "without a word"),
        ("error: Cannot build '/nix/store/j9h-x-1.drv'.\n       Reason: builder failed with exit code 3.",
         WrongState, "x-1 could not be built: exit code 3"),
        ("error: builder for '/nix/store/j9h-x-1.drv' failed due to signal 9 (Killed);\n  last 1 log lines:",
         WrongState, "x-1 could not be built: signal 9 (Killed)"),
        ("error: building of '/nix/store/j9h-x-1.drv^out' from .drv file timed out after 60 seconds of silence",
         WrongState, "it said nothing for 60 seconds"),
        ("error: cannot open connection to remote store 'daemon': closed", HostUnavailable, "daemon"),
        ("fatal: unable to access 'https://x/y/': Could not resolve host: x\nerror: program 'git' failed",
         HostUnavailable, "network does not answer: unable to access 'https://x/y/': Could not resolve"),
        ("fatal: the remote end hung up\nerror: program 'git' failed with exit code 128", HostUnavailable, "git: the"),
        ("fatal: couldn't find remote ref x\nerror: program 'git' failed with exit code 128", NotFound, "remote ref"),
        ("fatal: repository 'https://bob:pw@x/y/' not found\nerror: program 'git' failed with exit code 128",
         NotFound, "https://x/y/ is no git repository"),
        ("error: executing SQLite query: database or disk is full", HostUnavailable, "no room"),
        ("\x1b[31;1merror:\x1b[0m SQLite database '/nix/var/nix/db/db.sqlite' is busy", HostUnavailable, "busy"),
    ],
)  # fmt: skip
def test_what_nix_writes_for_people_is_understood_too(text: str, kind: type, part: str) -> None:
    error = explained(text)

    assert isinstance(error, kind), error
    assert part in str(error)


@pytest.mark.parametrize(
    "text",
    [
        """error: builder for '/nix/store/j9h-x-1.drv' failed with exit code 3;
       last 2 log lines:
       > compiling
       > error: no such header
       For full logs, run 'nix log /nix/store/j9h-x-1.drv'.
error: 1 dependencies of derivation '/nix/store/abc-top-1.drv' failed to build""",
        """error: Cannot build '/nix/store/j9h-x-1.drv'.
       Reason: builder failed with exit code 3.
       Output paths:
         /nix/store/j9h-x-1
       Last 2 log lines:
       > compiling
       > error: no such header
       For full logs, run:
         nix log /nix/store/j9h-x-1.drv
error: Cannot build '/nix/store/abc-top-1.drv'.
       Reason: 1 dependency failed.""",
    ],
    ids=["2.8", "2.31"],
)
def test_what_failed_first_is_told_with_its_log(text: str) -> None:
    error = explained(text)

    assert isinstance(error, WrongState)
    assert str(error).startswith(
        "x-1 could not be built: exit code 3\n  x-1> compiling\n  x-1> error: no such header"
    )
    assert "top-1" not in str(error)


@given(st.text(), st.sampled_from(["", "error: ", "error: builder for '", "fatal: '", "@nix "]))
def test_no_text_is_too_strange(text: str, start: str) -> None:
    assert explained(start + text).message


def test_passwords_in_urls_are_never_told() -> None:
    error = explained(
        "error: unable to access 'https://alice:hunter2@example.org/x.git/': The requested URL returned 403"
    )

    assert "hunter2" not in f"{error}"
    assert redacted("git+https://alice:hunter2@example.org/x") == "git+https://example.org/x"
