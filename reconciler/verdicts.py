"""What is said of a resource in each situation: its conditions, and in what its object differs. Decides nothing."""

from __future__ import annotations

from common.errors import ControlError
from nixcc.manager.v1 import manager_pb2 as pb
from reconciler.conditions import FALSE, IN_SYNC, READY, RECONCILING, STALLED, TRUE, UNKNOWN, Aspect
from reconciler.observation import Observation
from reconciler.outcome import Outcome, Retry, Terminal
from reconciler.resources import Entry

Aspects = dict[str, Aspect]


def converged(seen: Observation) -> Aspects:
    """The object is as declared."""
    in_sync = Aspect(TRUE, "InSync")
    if seen.pending:
        in_sync = Aspect(TRUE, "Pending", f"takes effect later: {', '.join(seen.pending)}")
    if seen.unhealthy:
        starts = seen.outlook == pb.OUTLOOK_STARTING
        told = Aspect(FALSE, "Starting" if starts else "Unhealthy", seen.unhealthy)
        aspects = {READY: told, IN_SYNC: in_sync}
        if starts:
            aspects[RECONCILING] = Aspect(TRUE, told.reason, seen.unhealthy)
        elif seen.outlook == pb.OUTLOOK_STALLED:
            aspects[STALLED] = Aspect(TRUE, told.reason, seen.unhealthy)
        return aspects
    return {READY: Aspect(TRUE, in_sync.reason, in_sync.message), IN_SYNC: in_sync}


def unknown(reason: str, message: str) -> Aspects:
    """Nobody can tell how the object is."""
    return {READY: Aspect(UNKNOWN, reason, message), IN_SYNC: Aspect(UNKNOWN, reason, message)}


def unreadable(error: ControlError) -> tuple[Aspects, Outcome]:
    """The object can't be read."""
    aspects = unknown(error.reason, str(error))
    if error.retryable:
        return aspects, Retry(error, getattr(error, "retry_after", 0.0))
    aspects[READY] = Aspect(FALSE, error.reason, str(error))
    aspects[STALLED] = Aspect(TRUE, error.reason, str(error))
    return aspects, Terminal(error)


def deleting(message: str) -> Aspects:
    """The resource is on its way out."""
    return {READY: Aspect(FALSE, "Deleting", message), RECONCILING: Aspect(TRUE, "Deleting", message)}


def drifted(seen: Observation) -> Aspect:
    """The object is not as declared."""
    return Aspect(FALSE, "Drifted", summary(seen))


def waiting(seen: Observation, names: str) -> Aspects:
    """Others must be ready first."""
    message = f"waits for {names}"
    return {
        READY: Aspect(FALSE, "DependencyNotReady", message),
        IN_SYNC: drifted(seen),
        RECONCILING: Aspect(TRUE, "DependencyNotReady", message),
    }


def flapping(seen: Observation, message: str) -> Aspects:
    """Somebody else writes it, too."""
    return {
        READY: Aspect(FALSE, "Flapping", f"{summary(seen)}; {message}"),
        IN_SYNC: drifted(seen),
        STALLED: Aspect(TRUE, "Flapping", message),
    }


def applying(action: pb.Action.ValueType, seen: Observation) -> Aspects:
    """A step takes long."""
    message = f"{pb.Action.Name(action).removeprefix('ACTION_').lower()} is under way"
    return {
        READY: Aspect(FALSE, "Applying", message),
        IN_SYNC: drifted(seen),
        RECONCILING: Aspect(TRUE, "Applying", message),
    }


def failed(error: ControlError, seen: Observation) -> tuple[Aspects, Outcome]:
    """A step did not do what it should."""
    in_sync = Aspect(TRUE, "InSync") if seen.in_sync else drifted(seen)
    aspects = {READY: Aspect(FALSE, error.reason, str(error)), IN_SYNC: in_sync}
    if error.retryable:
        aspects[RECONCILING] = Aspect(TRUE, "Retrying", str(error))
        return aspects, Retry(error, getattr(error, "retry_after", 0.0))
    aspects[STALLED] = Aspect(TRUE, error.reason, str(error))
    return aspects, Terminal(error)


def unchanged(entry: Entry) -> Aspects:
    """What is said of it already."""
    return {
        condition.type: Aspect(condition.status, condition.reason, condition.message)
        for condition in entry.resource.status.conditions
    }


def summary(seen: Observation) -> str:
    """In what the object differs, in few words."""
    if seen.absent:
        return "it does not exist"
    paths = [difference.path for difference in seen.differences]
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return f"differs in {', '.join(paths[:5])}{more}"


def latch(seen: Observation) -> bytes:
    """What tells a later pass that nothing has changed since a step failed for good."""
    return seen.fingerprint or b"absent"
