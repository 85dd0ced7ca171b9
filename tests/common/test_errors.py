from __future__ import annotations

import pytest
from google.rpc import code_pb2, status_pb2

from common import errors


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("no File motd", next_step="list them"),
        errors.AlreadyExists("taken"),
        errors.WrongState("it is running", next_step="stop it"),
        errors.RolledBack("the probe ssh failed", next_step="look at the log"),
        errors.Forbidden("not yours"),
        errors.Unsupported("no systemd here"),
        errors.OutOfRange("compacted"),
        errors.Conflict("stale etag"),
        errors.DeadlineExceeded("too slow"),
        errors.TooLarge("64 MiB"),
        errors.Cancelled("as asked"),
    ],
)
def test_a_status_carries_class_message_and_next_step(error: errors.ControlError) -> None:
    back = errors.from_status(errors.to_status(error))

    assert type(back) is type(error)
    assert (back.message, back.next_step) == (error.message, error.next_step)
    assert str(back) == str(error)


def test_violations_cross_the_wire_in_order() -> None:
    rows = [errors.Violation("spec.path", "must be absolute"), errors.Violation("spec.mode", "too large")]

    back = errors.from_status(errors.to_status(errors.InvalidRequest("2 fields are wrong", rows)))

    assert isinstance(back, errors.InvalidRequest)
    assert list(back.violations) == rows


def test_the_delay_crosses_the_wire() -> None:
    back = errors.from_status(errors.to_status(errors.HostUnavailable("libvirtd is down", retry_after=2.5)))

    assert isinstance(back, errors.HostUnavailable)
    assert back.retry_after == 2.5


def test_a_failed_command_tells_argv_exit_code_and_the_end_of_stderr() -> None:
    error = errors.CommandFailed(["nft", "-f", "a b"], 1, "x" * 5_000 + "the end")

    assert str(error).startswith("nft -f 'a b': exit code 1: ")
    assert str(error).endswith("the end")
    assert len(error.stderr) == 2_000
    assert errors.to_status(error).code == code_pb2.INTERNAL


def test_a_killed_command_tells_the_signal() -> None:
    assert "signal 9" in str(errors.CommandFailed(["qemu-img"], -9, ""))


def test_a_strangers_status_is_understood() -> None:
    back = errors.from_status(status_pb2.Status(code=code_pb2.ABORTED, message="try again"))

    assert isinstance(back, errors.Conflict)
    assert back.message == "try again"


def test_each_class_has_its_own_code() -> None:
    classes = [c for c in errors.ControlError.__subclasses__() if c.code != code_pb2.INTERNAL]

    assert len({c.code for c in classes}) == len(classes)
