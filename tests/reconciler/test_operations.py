"""Operations outlive their client, end in one way or the other, and are there after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.longrunning import operations_pb2 as lro
from google.protobuf import any_pb2, duration_pb2, empty_pb2

import talks
from common import errors
from nixcc.reconciler.v1 import reconciler_pb2 as pb
from nixcc.resource.v1 import resource_pb2
from plane import Plane, eventually, plane
from reconciler.operations import BUCKET, Operations, Report
from reconciler.store import MemoryStore, open_store
from talks import Step, Talks, Words

WORK = f"/{talks.SERVICE}/Work"
SAY = f"/{talks.SERVICE}/Say"


@pytest.fixture
async def service() -> Talks:
    return Talks()


@pytest.fixture
async def cp(tmp_path: Path, service: Talks) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"talks": talks.factory(service)}) as started:
        yield started


async def start(
    cp: Plane, text: str = "all", times: int = 3, method: str = WORK, **fields: Any
) -> lro.Operation:
    request = pb.StartOperationRequest(method=method, **fields)
    request.request.Pack(Words(text=text, times=times))
    return (await cp.loop.StartOperation(request)).operation


async def wait(cp: Plane, name: str, seconds: int = 10) -> lro.Operation:
    timeout = duration_pb2.Duration(seconds=seconds)
    return await cp.operations.WaitOperation(lro.WaitOperationRequest(name=name, timeout=timeout))


def metadata(operation: lro.Operation) -> pb.OperationMetadata:
    found = pb.OperationMetadata()
    assert operation.metadata.Unpack(found)
    return found


async def refused(call: Any) -> errors.ControlError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return errors.from_rpc_error(caught.value)


async def test_a_domain_rpc_runs_to_its_end(cp: Plane) -> None:
    concerned = resource_pb2.ResourceReference(kind="VirtualMachine", name="web")
    done = await wait(cp, (await start(cp, resource=concerned)).name)

    assert done.done
    answer = Step()
    assert done.response.Unpack(answer)
    assert answer.text == "all is done"
    known = metadata(done)
    assert (known.method, known.resource) == (WORK, concerned)
    assert list(known.log) == ["line 0", "line 1", "line 2"]
    assert (known.progress.message, known.progress.percent) == ("step 2", 2)
    assert known.create_time.ToMicroseconds() <= known.end_time.ToMicroseconds()


async def test_it_goes_on_without_its_client(cp: Plane, service: Talks) -> None:
    service.go_on.clear()
    name = (await start(cp)).name
    waiting = asyncio.ensure_future(wait(cp, name))
    await eventually(lambda: service.on_line == 1)
    waiting.cancel()
    running = await cp.operations.GetOperation(lro.GetOperationRequest(name=name))
    assert not running.done

    service.go_on.set()

    assert (await wait(cp, name)).done


async def test_waiting_ends_with_its_time(cp: Plane, service: Talks) -> None:
    service.go_on.clear()
    name = (await start(cp)).name

    async with asyncio.timeout(5):
        assert not (await wait(cp, name, 0)).done
    service.go_on.set()


async def test_progress_is_seen_while_it_runs(cp: Plane, service: Talks) -> None:
    gate = service.go_on
    gate.clear()
    name = (await start(cp, times=2)).name
    await eventually(lambda: service.on_line == 1)
    gate.set()
    await asyncio.sleep(0)
    gate.clear()

    async def said() -> bool:
        found = metadata(await cp.operations.GetOperation(lro.GetOperationRequest(name=name)))
        return found.progress.message.startswith("step")

    await eventually(said)
    gate.set()
    await wait(cp, name)


async def test_a_failure_is_the_services_own_error(cp: Plane) -> None:
    done = await wait(cp, (await start(cp, "missing")).name)

    error = errors.from_status(done.error)
    assert isinstance(error, errors.NotFound)
    assert (error.message, error.next_step) == ("nobody is there", "call somebody")


async def test_cancelling_ends_the_work_at_the_service(cp: Plane, service: Talks) -> None:
    service.go_on.clear()
    name = (await start(cp)).name
    await eventually(lambda: service.on_line == 1)
    waiting = asyncio.ensure_future(wait(cp, name))

    await cp.operations.CancelOperation(lro.CancelOperationRequest(name=name))

    done = await waiting
    assert isinstance(errors.from_status(done.error), errors.Cancelled)
    assert metadata(done).cancel_requested
    await eventually(lambda: service.on_line == 0)


async def test_cancelling_at_any_moment_ends_it_one_way_or_the_other(cp: Plane) -> None:
    """Before its first step, in the middle, at its very end: those who wait are always told."""
    for round_ in range(25):
        name = (await start(cp, times=round_ % 4)).name
        waiting = asyncio.ensure_future(wait(cp, name))
        for _ in range(round_):
            await asyncio.sleep(0.0003)
        await cp.operations.CancelOperation(lro.CancelOperationRequest(name=name))

        done = await waiting

        assert done.done
        ended = done.HasField("response") or isinstance(errors.from_status(done.error), errors.Cancelled)
        assert ended, done
        assert metadata(done).HasField("end_time")


async def test_cancelling_what_is_done_changes_nothing(cp: Plane) -> None:
    name = (await start(cp)).name
    done = await wait(cp, name)

    await cp.operations.CancelOperation(lro.CancelOperationRequest(name=name))

    assert await cp.operations.GetOperation(lro.GetOperationRequest(name=name)) == done


async def test_the_same_request_id_starts_once(cp: Plane, service: Talks) -> None:
    service.go_on.clear()
    started = await asyncio.gather(*(start(cp, request_id="backup-1") for _ in range(5)))
    assert len({operation.name for operation in started}) == 1
    await eventually(lambda: service.on_line == 1)
    service.go_on.set()
    await wait(cp, started[0].name)

    again = await start(cp, request_id="backup-1")

    assert again.done
    assert service.heard == ["all"]


async def test_a_request_id_is_for_one_method(cp: Plane) -> None:
    await start(cp, request_id="x")

    error = await refused(start(cp, request_id="x", method=f"/{talks.SERVICE}/Repeat"))

    assert isinstance(error, errors.AlreadyExists)


@pytest.mark.parametrize("request_id", ["a/b", "../x", "a\x00b", "-rf", "x" * 129, "ä", "a b"])
async def test_ids_that_no_operation_can_have(cp: Plane, request_id: str) -> None:
    error = await refused(start(cp, request_id=request_id))

    assert isinstance(error, errors.InvalidRequest)
    assert [violation.field for violation in error.violations] == ["request_id"]


@pytest.mark.parametrize(
    "method", ["", "/", "/no.Such/Rpc", f"/{talks.SERVICE}/Shout", "/nixcc.manager.v1.ManagerService/Apply"]
)
async def test_methods_that_are_not_there(cp: Plane, method: str) -> None:
    assert isinstance(await refused(start(cp, method=method)), errors.NotFound)


async def test_operations_that_are_not_there(cp: Plane) -> None:
    for call in (
        cp.operations.GetOperation(lro.GetOperationRequest(name="operations/none")),
        cp.operations.WaitOperation(lro.WaitOperationRequest(name="operations/none")),
        cp.operations.CancelOperation(lro.CancelOperationRequest(name="operations/none")),
        cp.operations.DeleteOperation(lro.DeleteOperationRequest(name="operations/none")),
    ):
        assert isinstance(await refused(call), errors.NotFound)


async def test_only_what_ended_can_be_deleted(cp: Plane, service: Talks) -> None:
    service.go_on.clear()
    name = (await start(cp)).name
    delete = lro.DeleteOperationRequest(name=name)
    assert isinstance(await refused(cp.operations.DeleteOperation(delete)), errors.WrongState)
    service.go_on.set()
    await wait(cp, name)

    await cp.operations.DeleteOperation(delete)

    request = lro.GetOperationRequest(name=name)
    assert isinstance(await refused(cp.operations.GetOperation(request)), errors.NotFound)


async def test_the_log_is_bounded_in_lines_and_in_their_length(cp: Plane) -> None:
    many = metadata(await wait(cp, (await start(cp, times=2_000)).name))
    long = metadata(await wait(cp, (await start(cp, "long", times=1)).name))

    assert len(many.log) == 500
    assert many.log[-1] == "line 1999"
    assert len(long.log[0]) == 2_000


async def test_a_pass_can_be_awaited_and_cancelled(cp: Plane) -> None:
    operation = (await cp.loop.ReconcileNow(pb.ReconcileNowRequest())).operation
    done = await wait(cp, operation.name)

    result = pb.PassResult()
    assert done.response.Unpack(result)
    assert result.resources == 0


async def test_listing_in_pages(cp: Plane) -> None:
    names = [(await start(cp, times=0)).name for _ in range(7)]
    found: list[str] = []
    token = ""
    while True:
        page = await cp.operations.ListOperations(lro.ListOperationsRequest(page_size=3, page_token=token))
        found += [operation.name for operation in page.operations]
        token = page.next_page_token
        if not token:
            break

    assert found == names
    bad = cp.operations.ListOperations(lro.ListOperationsRequest(page_token="garbage"))
    assert isinstance(await refused(bad), errors.InvalidRequest)


async def test_a_stopped_daemon_ends_what_runs_and_says_so_afterwards(tmp_path: Path) -> None:
    service = Talks()
    async with plane(tmp_path, {"talks": talks.factory(service)}) as first:
        done = await wait(first, (await start(first)).name)
        service.go_on.clear()
        running = (await start(first, "long way", request_id="long")).name
        await eventually(lambda: service.on_line == 1)
    async with plane(tmp_path, {"talks": talks.factory(service)}) as second:
        found = await second.operations.GetOperation(lro.GetOperationRequest(name=running))
        assert found.done
        assert isinstance(errors.from_status(found.error), errors.Conflict)
        assert metadata(found).HasField("end_time")
        assert (await start(second, "long way", request_id="long")).done, "it does not start again by itself"
        kept = await second.operations.GetOperation(lro.GetOperationRequest(name=done.name))
        assert kept == done


async def killed(store: MemoryStore) -> Operations:
    """The operations of the next daemon, after this one's was killed."""
    made = Operations(store)
    await made.load()
    return made


async def test_after_a_kill_it_is_aborted_with_what_is_known() -> None:
    store = MemoryStore()
    operations = Operations(store)
    await operations.load()
    halfway, never = asyncio.Event(), asyncio.Event()

    async def work(report: Report) -> empty_pb2.Empty:
        report(resource_pb2.Progress(message="copying", percent=40, log_line="copied disk 1"))
        halfway.set()
        await never.wait()
        return empty_pb2.Empty()

    name = (await operations.start("/x/Y", work)).name
    await halfway.wait()

    async def kept() -> bool:
        row = await store.document_get(BUCKET, name)
        return row is not None and b"copied disk 1" in row

    await eventually(kept, 5)
    after = await killed(store)

    found = await after.GetOperation(lro.GetOperationRequest(name=name), None)
    error = errors.from_status(found.error)
    assert isinstance(error, errors.Conflict)
    assert "copied disk 1" in error.message
    assert list(metadata(found).log) == ["copied disk 1"]
    assert metadata(found).progress.percent == 40
    await operations.close()


async def test_a_client_that_leaves_while_it_starts_leaves_no_ghost_and_takes_nobody_along() -> None:
    class Slow(MemoryStore):
        gate = asyncio.Event()

        async def document_put(self, bucket: str, key: str, value: bytes | None) -> None:
            await self.gate.wait()
            await super().document_put(bucket, key, value)

    store = Slow()
    operations = Operations(store)
    await operations.load()
    ran = 0

    async def work(report: Report) -> empty_pb2.Empty:
        nonlocal ran
        ran += 1
        return empty_pb2.Empty()

    leaving = asyncio.create_task(operations.start("/x/Y", work, request_id="same"))
    staying = asyncio.create_task(operations.start("/x/Y", work, request_id="same"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert not staying.done(), "not before it is durable"
    store.gate.set()

    operation = await staying

    assert (await operations.wait(operation.name, 5)).done
    assert ran == 1
    await operations.close()


async def test_what_the_store_refuses_has_not_begun() -> None:
    class Full(MemoryStore):
        full = True

        async def document_put(self, bucket: str, key: str, value: bytes | None) -> None:
            if self.full:
                raise errors.HostUnavailable("the disk is full")
            await super().document_put(bucket, key, value)

    store = Full()
    operations = Operations(store)
    await operations.load()
    ran = False

    async def work(report: Report) -> empty_pb2.Empty:
        nonlocal ran
        ran = True
        return empty_pb2.Empty()

    with pytest.raises(errors.HostUnavailable):
        await operations.start("/x/Y", work, request_id="again")
    assert not ran
    assert not (await operations.ListOperations(lro.ListOperationsRequest(), None)).operations
    store.full = False

    operation = await operations.start("/x/Y", work, request_id="again")

    assert (await operations.wait(operation.name, 5)).done
    await operations.close()


async def test_the_newest_two_hundred_are_kept_also_after_a_restart(tmp_path: Path) -> None:
    async def work(report: Report) -> any_pb2.Any:
        return any_pb2.Any(type_url="x/y")

    async def finished(operations: Operations, count: int) -> list[str]:
        names = []
        for _ in range(count):
            name = (await operations.start("/x/Y", work)).name
            assert (await operations.wait(name, 5)).done
            names.append(name)
        return names

    async def listed(operations: Operations) -> list[str]:
        request = lro.ListOperationsRequest(page_size=1_000)
        return [one.name for one in (await operations.ListOperations(request, None)).operations]

    store = await open_store(tmp_path)
    operations = Operations(store)
    await operations.load()
    names = await finished(operations, 210)
    assert await listed(operations) == names[10:]
    await operations.close()
    await store.close()

    store = await open_store(tmp_path)
    operations = Operations(store)
    await operations.load()
    assert await listed(operations) == names[10:]
    names += await finished(operations, 30)
    assert await listed(operations) == names[40:], "the oldest leave first"
    await operations.close()
    await store.close()


async def test_closing_cancels_what_just_starts() -> None:
    operations = Operations(MemoryStore())
    await operations.load()

    async def work(report: Report) -> empty_pb2.Empty:
        await asyncio.Event().wait()
        return empty_pb2.Empty()

    starting = asyncio.create_task(operations.start("/x/Y", work))
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await operations.close()
        operation = await starting
    assert operation.done
