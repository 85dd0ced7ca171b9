"""The errors that cross the wire, and how they become google.rpc statuses and come back.

    ControlError
    ├── InvalidRequest      INVALID_ARGUMENT     carries field violations; trying again is useless
    ├── NotFound            NOT_FOUND
    ├── AlreadyExists       ALREADY_EXISTS
    ├── WrongState          FAILED_PRECONDITION  try again when the state has changed
    │   └── RolledBack                           what was begun was undone, and the host is as it was before
    ├── Forbidden           PERMISSION_DENIED
    ├── Unsupported         UNIMPLEMENTED        this host cannot
    ├── OutOfRange          OUT_OF_RANGE         the revision was compacted: list again
    ├── Conflict            ABORTED              read again, then try again
    ├── HostUnavailable     UNAVAILABLE          carries the delay after which to try again
    ├── DeadlineExceeded    DEADLINE_EXCEEDED
    ├── TooLarge            RESOURCE_EXHAUSTED
    ├── Cancelled           CANCELLED
    └── CommandFailed       INTERNAL             argv, exit code, end of stderr; secrets masked

Each says the cause and, where there is one, the next step.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

DOMAIN = "nixcc"


class Violation(NamedTuple):
    """One wrong field: its dotted path and what is wrong with it."""

    field: str
    description: str


class ControlError(Exception):
    """Base of all; raised itself for faults that have no better class (INTERNAL)."""

    code: ClassVar[int] = code_pb2.INTERNAL
    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    @property
    def reason(self) -> str:
        """The class's name: one CamelCase word for programs."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message

    def details(self) -> list[Any]:
        """google.rpc detail messages beside the ErrorInfo."""
        return []


class InvalidRequest(ControlError):
    """The request is wrong; every wrong field is named."""

    code = code_pb2.INVALID_ARGUMENT
    retryable = False

    def __init__(self, message: str, violations: Iterable[Violation] = (), *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.violations: Sequence[Violation] = tuple(violations)

    def details(self) -> list[Any]:
        """BadRequest with the violations."""
        if not self.violations:
            return []
        detail = error_details_pb2.BadRequest()
        for violation in self.violations:
            detail.field_violations.add(field=violation.field, description=violation.description)
        return [detail]


class NotFound(ControlError):
    """What was named does not exist."""

    code = code_pb2.NOT_FOUND
    retryable = False


class AlreadyExists(ControlError):
    """The name or key is taken."""

    code = code_pb2.ALREADY_EXISTS
    retryable = False


class WrongState(ControlError):
    """Not possible as things are; possible once they have changed."""

    code = code_pb2.FAILED_PRECONDITION
    retryable = False

    def details(self) -> list[Any]:
        """PreconditionFailure with the next step."""
        detail = error_details_pb2.PreconditionFailure()
        detail.violations.add(type="STATE", subject=DOMAIN, description=self.next_step or self.message)
        return [detail]


class RolledBack(WrongState):
    """A change was made, did not hold and was undone: the host is as it was before."""


class Forbidden(ControlError):
    """The caller, or the daemon's own privileges, do not allow it."""

    code = code_pb2.PERMISSION_DENIED
    retryable = False


class Unsupported(ControlError):
    """This host cannot do it: a tool, kernel feature or daemon is missing."""

    code = code_pb2.UNIMPLEMENTED
    retryable = False


class OutOfRange(ControlError):
    """The revision asked for is no longer kept (or not yet there)."""

    code = code_pb2.OUT_OF_RANGE
    retryable = False


class Conflict(ControlError):
    """Somebody else changed it meanwhile."""

    code = code_pb2.ABORTED


class HostUnavailable(ControlError):
    """The backend or service does not answer now."""

    code = code_pb2.UNAVAILABLE

    def __init__(self, message: str, *, retry_after: float = 1.0, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.retry_after = retry_after

    def details(self) -> list[Any]:
        """RetryInfo with the delay."""
        detail = error_details_pb2.RetryInfo()
        detail.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
        return [detail]


class DeadlineExceeded(ControlError):
    """It took longer than allowed; what was begun may have happened."""

    code = code_pb2.DEADLINE_EXCEEDED


class TooLarge(ControlError):
    """A message or a quota is exceeded."""

    code = code_pb2.RESOURCE_EXHAUSTED
    retryable = False


class Cancelled(ControlError):
    """Somebody asked for it to stop."""

    code = code_pb2.CANCELLED
    retryable = False


class CommandFailed(ControlError):
    """A program exited with an error. `argv` and `stderr` come with secrets masked already."""

    def __init__(self, argv: Sequence[str], exit_code: int, stderr: str, *, next_step: str = "") -> None:
        tail = stderr.strip()[-2000:]
        ended = f"exit code {exit_code}" if exit_code >= 0 else f"signal {-exit_code}"
        super().__init__(f"{shlex.join(argv)}: {ended}" + (f": {tail}" if tail else ""), next_step=next_step)
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stderr = tail


_CLASSES: dict[int, type[ControlError]] = {
    cls.code: cls
    for cls in (
        NotFound,
        AlreadyExists,
        WrongState,
        Forbidden,
        Unsupported,
        OutOfRange,
        Conflict,
        DeadlineExceeded,
        TooLarge,
        Cancelled,
    )
}


def to_status(error: ControlError) -> status_pb2.Status:
    """The google.rpc.Status that carries the error over the wire."""
    status = status_pb2.Status(code=error.code, message=error.message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    if error.next_step:
        info.metadata["next_step"] = error.next_step
    for detail in (info, *error.details()):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def from_status(status: status_pb2.Status) -> ControlError:
    """The error that a status carries; statuses of strangers too."""
    next_step = reason = ""
    retry_after = 1.0
    violations: list[Violation] = []
    for packed in status.details:
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if packed.Unpack(info):
            next_step, reason = info.metadata.get("next_step", ""), info.reason
        elif packed.Unpack(bad):
            violations = [Violation(v.field, v.description) for v in bad.field_violations]
        elif packed.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    if status.code == code_pb2.INVALID_ARGUMENT:
        return InvalidRequest(status.message, violations, next_step=next_step)
    if status.code == code_pb2.UNAVAILABLE:
        return HostUnavailable(status.message, retry_after=retry_after, next_step=next_step)
    if status.code == code_pb2.FAILED_PRECONDITION and reason == RolledBack.__name__:
        return RolledBack(status.message, next_step=next_step)
    return _CLASSES.get(status.code, ControlError)(status.message, next_step=next_step)


def from_rpc_error(error: Any) -> ControlError:
    """The ControlError behind a grpc.RpcError (sync or aio); details are read where the server sent them."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return from_status(status_pb2.Status.FromString(value))
    code: int = error.code().value[0]
    return from_status(status_pb2.Status(code=code, message=error.details() or error.code().name))
