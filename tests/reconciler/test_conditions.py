from __future__ import annotations

from nixcc.resource.v1 import resource_pb2 as pb
from reconciler.conditions import FALSE, TRUE, UNKNOWN, Aspect, build, find, is_ready, timestamp


def test_a_condition_keeps_its_time_while_only_its_reason_changes() -> None:
    first = build(pb.Status(), 1, {"Ready": Aspect(FALSE, "Drifted", "a")}, now=timestamp(10))
    second = build(first, 2, {"Ready": Aspect(FALSE, "ApplyFailed", "b")}, now=timestamp(20))
    third = build(second, 2, {"Ready": Aspect(TRUE, "InSync")}, now=timestamp(30))

    assert [s.conditions[0].last_transition_time.seconds for s in (first, second, third)] == [10, 10, 30]
    assert (second.conditions[0].reason, second.conditions[0].message) == ("ApplyFailed", "b")
    assert second.conditions[0].observed_generation == second.observed_generation == 2


def test_conditions_are_sorted_and_what_no_longer_holds_is_gone() -> None:
    aspects = {
        "Stalled": Aspect(TRUE, "Flapping"),
        "InSync": Aspect(FALSE, "Drifted"),
        "Ready": Aspect(FALSE, "x"),
    }
    before = build(pb.Status(), 1, aspects, now=timestamp(1))
    after = build(before, 1, {"Ready": Aspect(TRUE, "InSync")}, now=timestamp(2))

    assert [c.type for c in before.conditions] == ["InSync", "Ready", "Stalled"]
    assert [c.type for c in after.conditions] == ["Ready"]
    assert find(after, "Stalled") is None


def test_the_same_again_is_byte_equal() -> None:
    aspects = {"Ready": Aspect(UNKNOWN, "ServiceUnavailable", "gone"), "InSync": Aspect(UNKNOWN, "x")}
    first = build(pb.Status(), 1, aspects, now=timestamp(1))

    assert build(first, 1, dict(reversed(aspects.items())), now=timestamp(99)) == first


def test_ready_is_about_the_spec_as_it_is_now() -> None:
    one = pb.Resource()
    one.metadata.generation = 2
    assert not is_ready(one)
    one.status.CopyFrom(build(pb.Status(), 1, {"Ready": Aspect(TRUE, "InSync")}, now=timestamp(1)))
    assert not is_ready(one), "that was the spec before"
    one.metadata.generation = 1
    assert is_ready(one)
    one.status.CopyFrom(build(pb.Status(), 1, {"Ready": Aspect(UNKNOWN, "x")}, now=timestamp(1)))
    assert not is_ready(one)
