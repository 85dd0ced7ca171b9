"""What one look calls for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from common.errors import Forbidden, to_status
from nixcc.manager.v1 import manager_pb2 as pb
from nixcc.resource.v1 import options_pb2, resource_pb2
from reconciler.catalog import KindInfo
from reconciler.link import ServiceLink
from reconciler.observation import changes, fingerprint, held_back, observe, suspended_for, unread
from reconciler.resources import Entry
from widgets import Widget

NO_POLICY = resource_pb2.Policy()


@pytest.fixture
async def info(tmp_path: Path) -> KindInfo:
    return kind(tmp_path, options_pb2.PERMANENCE_LIVE)


def kind(folder: Path, permanence: options_pb2.Permanence.ValueType) -> KindInfo:
    link = ServiceLink(
        "widgets",
        folder / "s.sock",
        on_up=lambda link: None,
        on_down=lambda link: None,
        on_hint=lambda kind, keys: None,
    )
    descriptor = pb.KindDescriptor(kind="Widget", message="nixcc.widgets.v1.Widget")
    descriptor.options.permanence = permanence
    return KindInfo("Widget", descriptor, link, Widget)


def seen(spec: Any = None, **fields: Any) -> pb.Detection:
    made = pb.Detection(key="a", **fields)
    if spec is not None:
        made.spec.Pack(spec)
    return made


def entry(policy: resource_pb2.Policy = NO_POLICY) -> Entry:
    one = resource_pb2.Resource(kind="Widget", policy=policy)
    one.metadata.name = "a"
    one.metadata.generation = 3
    return Entry("Widget", "a", one.SerializeToString(), 1, 1)


async def test_what_is_as_it_should_be_calls_for_nothing(info: KindInfo) -> None:
    found = observe(info, Widget(size=1), NO_POLICY, seen(Widget(size=1, colour="red")))

    assert found.in_sync
    assert found.action == pb.ACTION_UNSPECIFIED
    assert changes(found) == []


@pytest.mark.parametrize(
    ("host", "action", "paths"),
    [
        (None, pb.ACTION_CREATE, []),
        (Widget(size=2), pb.ACTION_REPLACE, ["shape", "size"]),
        (Widget(size=2, shape="round"), pb.ACTION_UPDATE, ["size"]),
        (Widget(size=1, shape="flat"), pb.ACTION_REPLACE, ["shape"]),
    ],
)
async def test_what_differs_calls_for_the_least_that_helps(
    info: KindInfo, host: Any, action: pb.Action.ValueType, paths: list[str]
) -> None:
    found = observe(info, Widget(size=1, shape="round"), NO_POLICY, seen(host))

    assert not found.in_sync
    assert found.absent == (host is None)
    assert found.action == action
    assert sorted(change.path for change in changes(found)) == paths


async def test_what_can_not_be_read_is_never_taken_for_absent(info: KindInfo) -> None:
    detection = seen()
    detection.error.CopyFrom(to_status(Forbidden("not allowed", next_step="run as root")))

    found = observe(info, Widget(size=1), NO_POLICY, detection)

    assert not found.absent
    assert not found.in_sync
    assert found.action == pb.ACTION_UNSPECIFIED
    assert isinstance(found.error, Forbidden)
    assert found.error.next_step == "run as root"
    assert unread(entry(), Forbidden("x")).generation == 3


async def test_ignored_fields_do_not_differ(info: KindInfo) -> None:
    policy = resource_pb2.Policy(ignored_fields=["size"])

    assert observe(info, Widget(size=1), policy, seen(Widget(size=2))).in_sync


async def test_a_fingerprint_tells_looks_apart_and_nothing_else() -> None:
    one = seen(Widget(size=1, tags=["a"]), digests={"x": b"1", "y": b"2"})
    same = seen(Widget(size=1, tags=["a"]), digests={"y": b"2", "x": b"1"})
    others = [
        seen(Widget(size=2, tags=["a"]), digests={"x": b"1", "y": b"2"}),
        seen(Widget(size=1, tags=["a"]), digests={"x": b"1", "y": b"3"}),
        seen(Widget(size=1, tags=["a"]), digests={"x": b"1", "y": b"2"}, unhealthy="it crashed"),
        seen(Widget(size=1, tags=["a"]), digests={"x": b"1", "y": b"2"}, pending=["size"]),
        seen(),
    ]

    assert fingerprint(one) == fingerprint(same)
    assert len({fingerprint(each) for each in (one, *others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("permanence", "in_generation", "reason"),
    [
        (options_pb2.PERMANENCE_LIVE, False, ""),
        (options_pb2.PERMANENCE_LIVE, True, ""),
        (options_pb2.PERMANENCE_LASTING, False, "AwaitsGeneration"),
        (options_pb2.PERMANENCE_LIVE_UNTIL_GENERATION, False, ""),
        (options_pb2.PERMANENCE_LIVE_UNTIL_GENERATION, True, "AwaitsGeneration"),
    ],
)
async def test_who_may_act_depends_on_how_the_kind_lasts(
    tmp_path: Path, permanence: options_pb2.Permanence.ValueType, in_generation: bool, reason: str
) -> None:
    assert held_back(entry(), kind(tmp_path, permanence), in_generation)[0] == reason


async def test_a_suspension_says_how_to_end_it_and_ends_by_itself(info: KindInfo) -> None:
    policy = resource_pb2.Policy(drift=resource_pb2.DRIFT_POLICY_OBSERVE)
    policy.suspend_until.FromSeconds(int(time.time()) + 100)
    reason, sentence = held_back(entry(policy), info, False)
    assert reason == "Suspended"
    assert "ncc resume Widget a" in sentence
    assert 95 < suspended_for(policy) <= 101

    policy.suspend_until.FromSeconds(int(time.time()) - 1)

    assert suspended_for(policy) < 0
    assert held_back(entry(policy), info, False)[0] == "ObserveOnly"
