"""What was no good is not tried again and again."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import WrongState
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.refusals import Refusals

SPEC = pb.Container(image="a:2")
ERROR = WrongState("not well", next_step="correct it")


def old(started: str = "now", id: str = "1") -> dict[str, Any]:
    return {"Id": id, "State": {"StartedAt": started}}


def test_it_waits_longer_each_time_and_not_for_what_changed() -> None:
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    refusals.check("web", SPEC, old(), "i")
    refusals.add("web", SPEC, old(), "i", ERROR)
    with pytest.raises(WrongState, match="not well") as raised:
        refusals.check("web", SPEC, old(), "i")
    assert "15 min, or after ncc homelab restart web" in raised.value.next_step
    for spec, before, image in (
        (pb.Container(image="a:3"), old(), "i"),
        (SPEC, old("later"), "i"),
        (SPEC, old(id="2"), "i"),
        (SPEC, old(), "j"),
    ):
        refusals.check("web", spec, before, image)
    now[0] = 901.0
    refusals.check("web", SPEC, old(), "i")
    refusals.add("web", SPEC, old("by that try"), "i", ERROR)
    now[0] += 1_700
    with pytest.raises(WrongState):
        refusals.check("web", SPEC, old("by that try"), "i")
    refusals.forget("web")
    refusals.check("web", SPEC, old("by that try"), "i")
