"""What is said in each situation: the conditions that people and scripts wait for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf import any_pb2

from common.errors import ControlError, HostUnavailable, InvalidRequest, NotFound
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import resource_pb2
from reconciler import verdicts
from reconciler.conditions import FALSE, IN_SYNC, READY, RECONCILING, STALLED, TRUE, UNKNOWN, Aspect
from reconciler.diff import FieldDiff
from reconciler.observation import Observation
from reconciler.outcome import Retry, Terminal
from reconciler.resources import Entry

HOST = any_pb2.Any(type_url="t/x")
SAME = Observation(packed=HOST)
OTHER = Observation(packed=HOST, differences=[FieldDiff("size", "1", "2"), FieldDiff("name", "a", "b")])
ABSENT = Observation()


def test_an_object_that_is_as_declared() -> None:
    assert verdicts.converged(SAME) == {READY: Aspect(TRUE, "InSync"), IN_SYNC: Aspect(TRUE, "InSync")}


def test_what_takes_effect_later_is_ready_and_said() -> None:
    told = verdicts.converged(Observation(packed=HOST, pending=("memory", "cpus")))
    later = Aspect(TRUE, "Pending", "takes effect later: memory, cpus")
    assert told == {READY: later, IN_SYNC: later}


def test_what_is_as_declared_and_does_not_work_is_not_ready() -> None:
    told = verdicts.converged(Observation(packed=HOST, unhealthy="the unit failed"))
    assert told == {READY: Aspect(FALSE, "Unhealthy", "the unit failed"), IN_SYNC: Aspect(TRUE, "InSync")}


def test_what_starts_is_on_its_way_and_what_never_will_be_well_is_stalled() -> None:
    starts = verdicts.converged(
        Observation(packed=HOST, unhealthy="no word yet", outlook=pb.OUTLOOK_STARTING)
    )
    never = verdicts.converged(Observation(packed=HOST, unhealthy="it ends", outlook=pb.OUTLOOK_STALLED))

    told = Aspect(FALSE, "Starting", "no word yet")
    assert starts == {READY: told, IN_SYNC: Aspect(TRUE, "InSync"), RECONCILING: replace(told, status=TRUE)}
    told = Aspect(FALSE, "Unhealthy", "it ends")
    assert never == {READY: told, IN_SYNC: Aspect(TRUE, "InSync"), STALLED: replace(told, status=TRUE)}


@pytest.mark.parametrize(
    ("error", "again"), [(HostUnavailable("away", retry_after=7.0), True), (NotFound("no"), False)]
)
def test_what_can_not_be_read(error: ControlError, again: bool) -> None:
    aspects, outcome = verdicts.unreadable(error)

    assert aspects[IN_SYNC].status == UNKNOWN
    if again:
        assert outcome == Retry(error, 7.0)
        assert (aspects[READY].status, STALLED in aspects) == (UNKNOWN, False)
    else:
        assert outcome == Terminal(error)
        assert (aspects[READY].status, aspects[STALLED].status) == (FALSE, TRUE)


@pytest.mark.parametrize("seen", [OTHER, SAME])
@pytest.mark.parametrize(("error", "again"), [(ControlError("full"), True), (InvalidRequest("bad"), False)])
def test_a_step_that_failed(error: ControlError, again: bool, seen: Observation) -> None:
    aspects, outcome = verdicts.failed(error, seen)

    assert aspects[READY] == Aspect(FALSE, error.reason, str(error))
    assert aspects[IN_SYNC].status == (TRUE if seen is SAME else FALSE)
    assert (RECONCILING in aspects, STALLED in aspects) == (again, not again)
    assert outcome == (Retry(error, 0.0) if again else Terminal(error))


def test_what_is_under_way() -> None:
    told = verdicts.applying(pb.ACTION_REPLACE, OTHER)
    assert told[READY] == Aspect(FALSE, "Applying", "replace is under way")
    assert told[RECONCILING].status == TRUE

    told = verdicts.waiting(OTHER, "File a")
    assert told[READY] == Aspect(FALSE, "DependencyNotReady", "waits for File a")
    assert (told[IN_SYNC].status, told[RECONCILING].status) == (FALSE, TRUE)

    told = verdicts.deleting("waits until File b is gone")
    assert told[READY] == Aspect(FALSE, "Deleting", "waits until File b is gone")
    assert told[RECONCILING].status == TRUE


def test_what_somebody_else_writes_too_is_stalled() -> None:
    told = verdicts.flapping(OTHER, "somebody else writes it too")
    assert told[READY] == Aspect(FALSE, "Flapping", "differs in size, name; somebody else writes it too")
    assert told[STALLED].status == TRUE


def test_differences_in_few_words() -> None:
    many = Observation(packed=HOST, differences=[FieldDiff(f"f{n}", "1", "2") for n in range(8)])
    assert verdicts.summary(ABSENT) == "it does not exist"
    assert verdicts.summary(OTHER) == "differs in size, name"
    assert verdicts.summary(many) == "differs in f0, f1, f2, f3, f4 and 3 more"


def test_what_is_said_already() -> None:
    one = resource_pb2.Resource(kind="Widget")
    one.status.conditions.add(type=READY, status=FALSE, reason="Because", message="of this")
    entry = Entry("Widget", "a", one.SerializeToString(), 1, 1)
    assert verdicts.unchanged(entry) == {READY: Aspect(FALSE, "Because", "of this")}


def test_a_latch_holds_while_the_host_is_the_same() -> None:
    assert verdicts.latch(Observation(packed=HOST, fingerprint=b"1")) == b"1"
    assert verdicts.latch(ABSENT) not in (b"", b"1")
