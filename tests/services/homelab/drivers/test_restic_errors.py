from __future__ import annotations

import pytest

from common.errors import (
    CommandFailed,
    ControlError,
    Forbidden,
    HostUnavailable,
    NotFound,
    Unsupported,
    WrongState,
)
from services.homelab.drivers.restic_errors import Locked, translated


@pytest.mark.parametrize(
    ("command", "text", "expected"),
    [
        ("cat", "Fatal: wrong password or no key found", Forbidden),
        ("check", "unable to create lock in backend: repository is already locked by PID 1", Locked),
        ("backup", "Save(<data/1>) returned error: write: no space left on device", WrongState),
        ("cat", "Fatal: unable to open config file: stat /r/config: no such file or directory", NotFound),
        (
            "cat",
            "Fatal: unable to open config file: dial tcp: connection refused\nIs there a repository",
            HostUnavailable,
        ),
        ("cat", "Fatal: unable to open config file: open /r/config: permission denied", Forbidden),
        ("restore", 'invalid id "1": no matching ID found', NotFound),
        ("check", "pack 1 is damaged", WrongState),
        ("backup", "something new", CommandFailed),
        ("check", "Fatal: check flag --read-data-subset=x% x must be at most 100.0%", CommandFailed),
        ("check", "error: pack 1: not found in index", WrongState),
        ("cat", "Fatal: config cannot be loaded: ciphertext too small", WrongState),
        ("cat", "subprocess ssh: Host key verification failed.", Forbidden),
        ("cat", "subprocess ssh: root@nas: Permission denied (publickey).", Forbidden),
        ("cat", "unexpected HTTP response (401): 401 Unauthorized", Forbidden),
        ("backup", "open /r/locks/1: read-only file system", Forbidden),
        ("cat", 'error starting rclone: exec: "rclone": executable file not found in $PATH', Unsupported),
    ],
)
def test_each_message_becomes_its_error(command: str, text: str, expected: type[ControlError]) -> None:
    error = translated(command, 1, text, "/r")
    assert type(error) is expected


def test_an_unreachable_backend_is_never_taken_for_an_absent_repository() -> None:
    """Else a new one would be made where the old one only can't be seen."""
    text = "Fatal: unable to open config file: Get https://x/config: i/o timeout\nIs there a repository at x?"
    assert not isinstance(translated("cat", 1, text, "x"), NotFound)


def test_what_is_quoted_is_masked_and_what_is_read_is_not() -> None:
    for command, said in (
        ("check", "pack secret is damaged"),
        ("backup", "secret: something else"),
        ("backup", "dial tcp secret: connection refused"),
        ("backup", "secret: permission denied"),
        ("backup", "repository is already locked by secret"),
    ):
        error = translated(command, 1, said, "/r", said.replace("secret", "********"))
        assert "secret" not in str(error)
        assert "********" in str(error)


@pytest.mark.parametrize(("code", "expected"), [(10, NotFound), (11, Locked), (12, Forbidden)])
def test_exit_codes_since_0_17_say_it_in_any_words(code: int, expected: type[ControlError]) -> None:
    assert type(translated("backup", code, "in other words", "/r")) is expected


def test_the_line_that_tells_most_is_told() -> None:
    text = (
        "subprocess ssh: connect to host nas port 22: Connection refused\n"
        "Fatal: unable to start the sftp session, error: EOF\n"
        "Is there a repository at the following location?\nsftp:nas:/r"
    )
    assert "connect to host nas" in str(translated("cat", 1, text, "sftp:nas:/r"))
