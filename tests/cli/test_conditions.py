"""Conditions for people and for scripts that wait."""

from __future__ import annotations

import pytest

from cli.conditions import is_ready, is_stuck, status, why_not
from nixcc.resource.v1 import resource_pb2

TRUE, FALSE = resource_pb2.CONDITION_STATUS_TRUE, resource_pb2.CONDITION_STATUS_FALSE


def resource(*conditions: tuple[str, int, str], generation: int = 2, seen: int = 2) -> resource_pb2.Resource:
    one = resource_pb2.Resource()
    one.metadata.generation = generation
    for name, state, reason in conditions:
        one.status.conditions.add(
            type=name,
            status=state,  # type: ignore[arg-type]
            reason=reason,
            message="because",
            observed_generation=seen,
        )
    return one


def test_nothing_was_found_out_yet() -> None:
    one = resource()
    assert (status(one, "Ready"), is_ready(one), is_stuck(one)) == ("-", False, False)
    assert why_not(one) == "not looked at yet"


def test_ready_is_ready_for_the_spec_as_it_is_now() -> None:
    assert is_ready(resource(("Ready", TRUE, "InSync")))
    assert not is_ready(resource(("Ready", TRUE, "InSync"), seen=1))
    assert not is_ready(resource(("Ready", FALSE, "Drifted")))
    assert status(resource(("Ready", FALSE, "Drifted")), "Ready") == "False"
    assert why_not(resource(("Ready", FALSE, "Drifted"))) == "Drifted: because"


@pytest.mark.parametrize(
    ("conditions", "stuck"),
    [
        ((("Ready", FALSE, "Drifted"),), False),
        ((("Ready", FALSE, "Drifted"), ("Stalled", TRUE, "InvalidRequest")), True),
        ((("Ready", FALSE, "Suspended"),), True),
        ((("Ready", FALSE, "ObserveOnly"),), True),
        ((("Ready", FALSE, "AwaitsGeneration"),), True),
        ((("Ready", FALSE, "AwaitsGeneration"), ("Reconciling", TRUE, "AwaitsGeneration")), False),
    ],
)
def test_what_will_not_become_ready_by_itself(
    conditions: tuple[tuple[str, int, str], ...], stuck: bool
) -> None:
    assert is_stuck(resource(*conditions)) is stuck
    assert not is_stuck(resource(*conditions, seen=1)), "that was another spec"
