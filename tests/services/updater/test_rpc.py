"""The service over its socket, with the driver in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from common.errors import ControlError, InvalidRequest, NotFound, RolledBack, from_rpc_error
from common.host import serve_service
from common.manager import Context, Service
from common.rpc import aio_channel
from nixcc.manager.v1 import manager_pb2, manager_pb2_grpc
from nixcc.updater.v1 import update_policy_pb2 as policy_pb
from nixcc.updater.v1 import updater_pb2 as pb
from nixcc.updater.v1 import updater_pb2_grpc
from services.updater import assembly
from services.updater.drivers.base import Outcome, Switched
from updater_host import FLAKE, B, Host, revision


@pytest.fixture
def create(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[[Context], Service]:
    monkeypatch.setattr(assembly, "_driver", lambda context: host.driver)
    monkeypatch.setenv("NCC_UPDATER_CONFIGURATION", "web")
    return assembly.assemble


@pytest.fixture
async def channel(tmp_path: Path, create: Callable[[Context], Service]) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        serve_service(
            "updater", create, tmp_path / "run/updater.sock", state_dir=tmp_path / "state"
        ) as served,
        aio_channel(served) as made,
    ):
        yield made


@pytest.fixture
def updater(channel: grpc.aio.Channel) -> Any:
    return updater_pb2_grpc.UpdaterServiceStub(channel)


async def ended(call: Any) -> tuple[list[str], Any]:
    """Messages of progress, and the result."""
    messages, result = [], None
    try:
        async for response in call:
            if response.WhichOneof("event") == "progress":
                messages.append(response.progress.message)
            else:
                result = response.result
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    return messages, result


async def test_check_run_show_and_back(updater: Any, host: Host) -> None:
    messages, plan = await ended(updater.CheckUpdate(pb.CheckUpdateRequest(build=True)))
    assert f"looking for updates of {FLAKE}" in messages
    assert [(c.input, c.type, c.old_revision, c.new_revision) for c in plan.changes] == [
        ("a", pb.INPUT_CHANGE_TYPE_UPDATED, revision(1), revision(2))
    ]
    assert plan.changes[0].new_time.seconds - plan.changes[0].old_time.seconds == 86_400
    assert (plan.impact.packages[0].name, plan.impact.reboot_needed) == ("linux", True)
    assert plan.impact.toplevel.endswith("nixos-system-web")

    messages, update = await ended(updater.RunUpdate(pb.RunUpdateRequest(requested_by="alice")))
    assert "switching" in messages
    assert (update.result, update.mode) == (pb.UPDATE_RESULT_SUCCEEDED, policy_pb.UPDATE_MODE_SWITCH)
    assert (update.old_generation, update.new_generation, update.requested_by) == (1, 2, "alice")
    assert update.end_time.seconds >= update.start_time.seconds > 0

    shown = await updater.GetUpdate(pb.GetUpdateRequest(id="latest"))
    assert shown.update == update
    assert "switching" not in shown.log  # steps with a percentage are no log
    assert "lock file updated" not in shown.log
    assert any(line.startswith("a: 0000") for line in shown.log)

    _, past = await ended(updater.RollbackUpdate(pb.RollbackUpdateRequest(requested_by="bob")))
    assert (past.id, past.result) == (update.id, pb.UPDATE_RESULT_TAKEN_BACK)
    assert host.driver.system.current == 1
    listed = (await updater.ListUpdates(pb.ListUpdatesRequest())).updates
    assert [row.requested_by for row in listed] == ["bob", "alice"]


async def test_roll_back_is_an_error_with_its_own_reason(updater: Any, host: Host) -> None:
    host.driver.system.verdict = Switched(Outcome.ROLLED_BACK, 1, "probe web failed")
    with pytest.raises(RolledBack, match="probe web failed") as caught:
        await ended(updater.RunUpdate(pb.RunUpdateRequest()))
    assert caught.value.next_step.startswith("ncc update show ")
    assert host.locked("a") == revision(1)


async def test_validation(updater: Any, host: Host) -> None:
    _, found = await ended(updater.ValidateUpdate(pb.ValidateUpdateRequest()))
    assert found.valid
    assert [check.name for check in found.checks] == ["evaluate and build", "dry-activate"]
    _, found = await ended(updater.ValidateUpdate(pb.ValidateUpdateRequest(configuration="nobody")))
    assert not found.valid
    assert found.checks[-1].message == "the flake has no nixosConfigurations.nobody"


async def test_pages(updater: Any, host: Host) -> None:
    for _ in range(5):
        await ended(updater.RunUpdate(pb.RunUpdateRequest(mode=policy_pb.UPDATE_MODE_CHECK)))
    ids, token = [], ""
    while True:
        page = await updater.ListUpdates(pb.ListUpdatesRequest(page_size=2, page_token=token))
        ids += [row.id for row in page.updates]
        token = page.next_page_token
        if not token:
            break
    assert len(ids) == 5
    assert ids == sorted(ids, reverse=True)
    assert not (await updater.ListUpdates(pb.ListUpdatesRequest(flake="/else"))).updates


@pytest.mark.parametrize(
    ("method", "request_", "error"),
    [
        ("CheckUpdate", pb.CheckUpdateRequest(flake="nixos"), InvalidRequest),
        ("CheckUpdate", pb.CheckUpdateRequest(flake="/nowhere"), NotFound),
        ("CheckUpdate", pb.CheckUpdateRequest(inputs=["none"]), NotFound),
        ("RunUpdate", pb.RunUpdateRequest(policy="none"), NotFound),
        ("ValidateUpdate", pb.ValidateUpdateRequest(inputs=["a;b"]), InvalidRequest),
        ("RollbackUpdate", pb.RollbackUpdateRequest(id="none"), NotFound),
    ],
)
async def test_refused(updater: Any, method: str, request_: Any, error: type[ControlError]) -> None:
    with pytest.raises(error):
        await ended(getattr(updater, method)(request_))


async def test_unknown_update(updater: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await updater.GetUpdate(pb.GetUpdateRequest(id="../x"))
    assert isinstance(from_rpc_error(caught.value), NotFound)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await updater.ListUpdates(pb.ListUpdatesRequest(page_size=5_000))
    assert isinstance(from_rpc_error(caught.value), InvalidRequest)


async def test_a_caller_that_leaves_ends_a_build(updater: Any, host: Host) -> None:
    began, left = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(step: str) -> None:
        if step == "build":
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(left.wait(), loop).result(10)

    host.driver.system.on = hang
    call = updater.RunUpdate(pb.RunUpdateRequest())
    reading = asyncio.create_task(ended(call))
    async with asyncio.timeout(10):
        await began.wait()
        call.cancel()
        with pytest.raises((ControlError, asyncio.CancelledError)):
            await reading
        await asyncio.sleep(0.2)
        left.set()
        while (await updater.ListUpdates(pb.ListUpdatesRequest())).updates[
            0
        ].result == pb.UPDATE_RESULT_RUNNING:
            await asyncio.sleep(0.01)
    listed = (await updater.ListUpdates(pb.ListUpdatesRequest())).updates
    assert listed[0].result == pb.UPDATE_RESULT_ABORTED
    assert host.locked("a") == revision(1)


async def test_channels(updater: Any, host: Host) -> None:
    url = "https://example.org/nixos"
    host.driver.channels.set("nixos", url)
    host.driver.channels.versions[url] = 2
    messages, found = await ended(updater.UpdateChannels(pb.UpdateChannelsRequest()))
    assert messages == ["fetching channels"]
    assert [change.name for change in found.changes] == ["nixos"]
    back = await updater.RollbackChannels(pb.RollbackChannelsRequest())
    assert [(c.old_path, c.new_path) for c in back.channels.changes] == [
        (found.changes[0].new_path, found.changes[0].old_path)
    ]
    with pytest.raises(NotFound):
        await ended(updater.UpdateChannels(pb.UpdateChannelsRequest(names=["other"])))


async def test_description(channel: grpc.aio.Channel) -> None:
    manager: Any = manager_pb2_grpc.ManagerServiceStub(channel)
    described = await manager.Describe(manager_pb2.DescribeRequest())
    assert {kind.kind for kind in described.kinds} == {"FlakeInput", "Channel", "UpdatePolicy"}
    assert all(kind.enumerable for kind in described.kinds)
    assert list(described.rpc_services) == ["nixcc.updater.v1.UpdaterService"]


async def test_policy_is_used_by_hand(channel: grpc.aio.Channel, updater: Any, host: Host) -> None:
    manager: Any = manager_pb2_grpc.ManagerServiceStub(channel)
    spec = policy_pb.UpdatePolicy(
        flake=FLAKE, schedule="0 4 * * *", inputs=["b"], mode=policy_pb.UPDATE_MODE_LOCK
    )
    apply = manager_pb2.ApplyRequest(kind="UpdatePolicy", key="nightly", action=manager_pb2.ACTION_CREATE)
    apply.desired.Pack(spec)
    async for event in manager.Apply(apply):
        last = event
    assert last.result.message.startswith("nightly runs next at ")
    host.driver.flakes.sources[B].append(revision(12))
    _, update = await ended(updater.RunUpdate(pb.RunUpdateRequest(policy="nightly", requested_by="alice")))
    assert ([c.input for c in update.changes], update.policy) == (["b"], "nightly")
