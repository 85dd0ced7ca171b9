"""How the service is put together from its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from common.manager import Context, Service
from nixcc.updater.v1.update_policy_pb2 import UpdatePolicy
from services.updater import create
from services.updater.assembly import _host_zone

Assemble = Callable[..., Service]


@pytest.fixture
def assemble(tmp_path: Path) -> Iterator[Assemble]:
    made: list[Service] = []
    executor = ThreadPoolExecutor(1)

    def start(**settings: str) -> Service:
        service = create(Context(tmp_path / "root", tmp_path / "state", tmp_path / "run", executor, settings))
        made.append(service)
        return service

    yield start
    for service in made:
        service.close()
    executor.shutdown()


def kind(service: Service, name: str) -> Any:
    return next(one for one in service.kinds if one.spec.DESCRIPTOR.name == name)


def test_in_memory(assemble: Assemble, tmp_path: Path) -> None:
    service = assemble(driver="memory")
    assert (service.name, service.driver) == ("updater", "memory")
    assert [one.spec.DESCRIPTOR.name for one in service.kinds] == ["FlakeInput", "Channel", "UpdatePolicy"]
    assert (tmp_path / "state/updater").stat().st_mode & 0o777 == 0o700


def test_host_without_nix(assemble: Assemble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    service = assemble()
    assert service.driver == "nix"
    assert all("there is no nix" in one.unsupported() for one in service.kinds)
    assert kind(service, "FlakeInput").enumerate() == []


def test_copies_that_a_killed_daemon_left_are_removed(assemble: Assemble, tmp_path: Path) -> None:
    left = tmp_path / "state/updater" / "work" / "check-x/flake"
    left.mkdir(parents=True)
    assemble(driver="memory")
    assert not left.exists()


def test_time_zone_of_the_host(tmp_path: Path) -> None:
    zone = _host_zone(tmp_path)
    assert zone() == ""
    (tmp_path / "etc").mkdir()
    for target, name in (
        ("/etc/zoneinfo/Europe/Berlin", "Europe/Berlin"),
        ("../usr/share/zoneinfo/UTC", "UTC"),
        ("/elsewhere", ""),
    ):
        (tmp_path / "etc/localtime").unlink(missing_ok=True)
        (tmp_path / "etc/localtime").symlink_to(target)
        assert zone() == name


def test_schedule_follows_the_time_zone_of_the_host(assemble: Assemble, tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/localtime").symlink_to("/etc/zoneinfo/Asia/Tokyo")
    policies = kind(assemble(driver="memory"), "UpdatePolicy")
    policies._policies.put("nightly", UpdatePolicy(flake="/f", schedule="0 4 * * *"), 0.0)
    policies._policies.note("nightly", anchor=4_000_000_000.0)
    seen = policies.detect(["nightly"])["nightly"].spec
    assert seen.next_run.endswith("T04:00:00+09:00")
