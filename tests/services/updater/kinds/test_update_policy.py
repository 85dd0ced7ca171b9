from __future__ import annotations

import pytest

from common.manager import Action, Change, Detected
from nixcc.system.v1.generation_pb2 import Probe
from nixcc.updater.v1.update_policy_pb2 import UpdateNotification, UpdatePolicy
from services.updater.kinds.update_policy import UpdatePolicyKind
from services.updater.orders import Orders
from services.updater.policies import Policies
from services.updater.scheduler import Scheduler
from updater_host import FLAKE, Host

# 2026-11-24 00:00 UTC.
NOW = 1_795_478_400.0


@pytest.fixture
def policies(host: Host) -> Policies:
    return Policies(host.folder / "policies")


@pytest.fixture
def kind(host: Host, policies: Policies) -> UpdatePolicyKind:
    scheduler = Scheduler(
        policies, Orders(policies), host.cycle, host.history, host.driver, clock=lambda: NOW
    )
    return UpdatePolicyKind(policies, scheduler, clock=lambda: NOW)


def report(message: str, percent: int | None) -> None:
    """Nobody listens."""


def nightly(**fields: object) -> UpdatePolicy:
    spec = UpdatePolicy(flake=FLAKE, schedule="0 4 * * *", time_zone="Europe/Berlin")
    spec.MergeFrom(UpdatePolicy(**fields))  # type: ignore[arg-type]
    return spec


def seen(kind: UpdatePolicyKind) -> Detected[UpdatePolicy]:
    found = kind.detect(["nightly"])["nightly"]
    assert isinstance(found, Detected)
    return found


def test_whole_life(kind: UpdatePolicyKind, policies: Policies) -> None:
    assert kind.detect(["nightly"]) == {"nightly": None}
    done = kind.apply(Change("nightly", Action.CREATE, nightly(), None), report)
    assert done.message == "nightly runs next at 2026-11-24T04:00:00+01:00"
    assert seen(kind).spec == nightly(next_run="2026-11-24T04:00:00+01:00")
    policies.note("nightly", last_run=NOW, last_id="x", last_result="failed: no", failed=True)
    assert seen(kind).spec.last_run == "2026-11-24T00:00:00Z"
    assert seen(kind).spec.last_result == "failed: no (x)"
    assert seen(kind).unhealthy == "the last run failed: no"
    assert not kind.apply(Change("nightly", Action.UPDATE, nightly(), None), report).changed
    off = kind.apply(Change("nightly", Action.UPDATE, nightly(enabled=False), None), report)
    assert off.message == "nightly never runs by itself"
    assert not seen(kind).spec.HasField("next_run")
    assert list(kind.enumerate()) == ["nightly"]
    assert kind.apply(Change("nightly", Action.DELETE, None, None), report).changed
    assert not kind.apply(Change("nightly", Action.DELETE, None, None), report).changed


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (nightly(schedule="0 4 * *"), "schedule"),
        (nightly(schedule="every day"), "schedule"),
        (nightly(time_zone="Europe/Nowhere"), "time_zone"),
        (nightly(notify=UpdateNotification(command=["mail", "me"])), "notify.command[0]"),
        (nightly(notify=UpdateNotification(webhook_file="https://hook/abc-secret")), "notify.webhook_file"),
        (nightly(notify=UpdateNotification(always=True)), "notify"),
        (nightly(probes=[Probe(name="web")]), "probes[web]"),
    ],
)
def test_refused(kind: UpdatePolicyKind, spec: UpdatePolicy, field: str) -> None:
    found = kind.validate("nightly", spec)
    assert [violation.field for violation in found] == [field]
    assert "abc-secret" not in found[0].description


def test_normalised(kind: UpdatePolicyKind) -> None:
    spec = nightly(flake="/etc/nixos/", schedule=" 0  4 * * *", next_run="never")
    assert kind.validate("nightly", spec) == []
    assert spec == nightly()


def test_hint_when_a_run_has_ended(kind: UpdatePolicyKind, policies: Policies) -> None:
    hints: list[object] = []
    kind.watch(lambda keys: hints.append(list(keys)))
    policies.put("nightly", nightly(), NOW)
    kind._scheduler.run_policy("nightly")
    assert hints == [["nightly"]]
    assert seen(kind).spec.last_result.startswith("available: ")
