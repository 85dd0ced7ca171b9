from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidRequest, NotFound
from nixcc.system.v1 import generation_pb2
from nixcc.updater.v1 import update_policy_pb2 as policy_pb
from nixcc.updater.v1 import updater_pb2 as pb
from services.updater.models import Mode, Validation
from services.updater.orders import Orders, schedule_of
from services.updater.policies import Policies


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    policies = Policies(tmp_path)
    spec = policy_pb.UpdatePolicy(
        flake="/srv/host/",
        inputs=["a"],
        schedule="0 4 * * *",
        mode=policy_pb.UPDATE_MODE_BOOT,
        validation=policy_pb.UPDATE_VALIDATION_PROBES,
        confirm=policy_pb.UPDATE_CONFIRMATION_MANUAL,
        confirm_within=60,
        restore_lock=False,
        commit=False,
        probes=[generation_pb2.Probe(name="web", tcp=generation_pb2.TcpProbe(host="localhost", port=80))],
    )
    policies.put("nightly", spec, 0.0)
    return Orders(policies, flake="/etc/nixos", configuration="web")


def test_policy(orders: Orders) -> None:
    order = orders.of_policy("nightly")
    assert (order.flake, order.configuration, order.inputs, order.mode) == (
        "/srv/host",
        "web",
        ("a",),
        Mode.BOOT,
    )
    assert (order.validation, order.manual, order.confirm_within) == (Validation.PROBES, True, 60)
    assert (order.restore_lock, order.commit) == (False, False)
    assert '"web"' in order.probes[0]
    assert order.requested_by == "UpdatePolicy/nightly"


def test_by_hand(orders: Orders) -> None:
    order = orders.of_run(pb.RunUpdateRequest(requested_by="x" * 999))
    assert (order.flake, order.mode, order.validation) == ("/etc/nixos", Mode.SWITCH, Validation.DRY_ACTIVATE)
    assert (order.restore_lock, order.commit, order.manual) == (True, True, False)
    assert len(order.requested_by) == 255


def test_the_request_wins(orders: Orders) -> None:
    request = pb.RunUpdateRequest(
        policy="nightly", mode=policy_pb.UPDATE_MODE_LOCK, inputs=["b/c"], flake="/x"
    )
    order = orders.of_run(request)
    assert (order.mode, order.inputs, order.flake, order.manual) == (Mode.LOCK, ("b/c",), "/x", True)


def test_confirmation_by_the_request_beats_the_policy(orders: Orders) -> None:
    request = pb.RunUpdateRequest(policy="nightly", confirm=policy_pb.UPDATE_CONFIRMATION_AUTO)
    assert not orders.of_run(request).manual


@pytest.mark.parametrize(
    "fields",
    [
        {"flake": "etc/nixos"},
        {"flake": "github:a/b"},
        {"flake": "/etc/nixos?dir=x"},
        {"flake": "/etc/\nnixos"},
        {"inputs": ["--impure"]},
        {"inputs": ["a b"]},
        {"inputs": [""]},
        {"configuration": 'a.b"; x'},
        {"configuration": "x y"},
        {"mode": 99},
        {"validation": 99},
        {"confirm_within": -1},
        {"confirm_within": 100_000},
    ],
)
def test_refused(orders: Orders, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        orders.of_run(pb.RunUpdateRequest(**fields))
    assert caught.value.violations[0].field == next(iter(fields))


def test_no_such_policy(orders: Orders) -> None:
    with pytest.raises(NotFound):
        orders.of_run(pb.RunUpdateRequest(policy="none"))
    with pytest.raises(NotFound):
        orders.of_validation(pb.ValidateUpdateRequest(policy="none"))


def test_time_zone_of_the_host_is_the_default() -> None:
    spec = policy_pb.UpdatePolicy(schedule="0 4 * * *")
    assert str(schedule_of(spec, "Asia/Tokyo").zone) == "Asia/Tokyo"
    spec.time_zone = "Europe/Berlin"
    assert str(schedule_of(spec, "Asia/Tokyo").zone) == "Europe/Berlin"
