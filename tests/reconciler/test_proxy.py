"""The services' domain rpcs through the public socket: as if the service itself were called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import talks
from common import errors
from common.host import serve_service
from common.rpc import METADATA
from nixcc.manager.v1 import manager_pb2, manager_pb2_grpc
from plane import Plane, eventually, plane
from talks import Caller, Talks, Words


@pytest.fixture
async def service() -> Talks:
    return Talks()


@pytest.fixture
async def cp(tmp_path: Path, service: Talks) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"talks": talks.factory(service)}) as started:
        yield started


@pytest.fixture
def caller(cp: Plane) -> Caller:
    return Caller(cp.channel)


async def refused(call: Any) -> tuple[grpc.aio.AioRpcError, errors.ControlError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return caught.value, errors.from_rpc_error(caught.value)


async def test_one_answer(caller: Caller) -> None:
    assert (await caller.say(Words(text="ab", times=3))).text == "ababab"


async def test_an_empty_request_and_answer(caller: Caller) -> None:
    assert await caller.say(Words()) == Words()


async def test_a_stream_of_answers(caller: Caller) -> None:
    found = [words.times async for words in caller.repeat(Words(text="a", times=500))]

    assert found == list(range(500))


async def test_a_stream_of_requests(caller: Caller) -> None:
    async def numbers() -> AsyncIterator[Any]:
        for number in range(100):
            yield Words(times=number)

    assert (await caller.sum(numbers())).times == sum(range(100))


async def test_both_ways_at_once(caller: Caller, service: Talks) -> None:
    call = caller.chat()
    for text in ("a", "b", "c"):
        await call.write(Words(text=text))
        assert (await call.read()).text == text.upper(), "each answer comes before the next question"
    await call.done_writing()

    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    await eventually(lambda: service.on_line == 0)


async def test_the_service_may_hang_up_first(caller: Caller) -> None:
    call = caller.chat()
    await call.write(Words(text="a"))
    assert (await call.read()).text == "A"
    await call.write(Words(text="bye"))

    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_large_messages(caller: Caller) -> None:
    text = "x" * (20 * 1024 * 1024)

    assert len((await caller.say(Words(text=text))).text) == len(text)


async def test_metadata_and_deadline_reach_the_service(caller: Caller, service: Talks) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await caller.say(Words(text="a"), metadata=(("traceparent", trace), ("who", "me")), timeout=9)

    assert service.metadata[0]["who"] == "me"
    assert service.metadata[0]["traceparent"] == trace
    assert 0 < (service.remaining[0] or 0) <= 9.5


async def test_a_passed_deadline_ends_the_call_at_the_service_too(caller: Caller, service: Talks) -> None:
    _, error = await refused(caller.say(Words(text="wait"), timeout=0.2))

    assert error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    await eventually(lambda: service.hung_up == 1 and service.on_line == 0)


@pytest.mark.parametrize("how", ["say", "repeat", "chat", "work"])
async def test_a_client_that_leaves_ends_the_call_at_the_service(
    caller: Caller, service: Talks, how: str
) -> None:
    service.go_on.clear()
    call = caller.chat() if how == "chat" else getattr(caller, how)(Words(text="wait", times=3))
    if how == "chat":
        await call.write(Words(text="a"))
    await eventually(lambda: service.on_line == 1)

    call.cancel()

    await eventually(lambda: service.on_line == 0 and service.hung_up == 1)


@pytest.mark.parametrize("how", ["say", "repeat", "work"])
async def test_errors_come_with_cause_and_next_step(caller: Caller, how: str) -> None:
    _, error = await refused(getattr(caller, how)(Words(text="missing")))

    assert isinstance(error, errors.NotFound)
    assert (error.message, error.next_step) == ("nobody is there", "call somebody")


async def test_errors_come_with_their_details(caller: Caller) -> None:
    _, wrong = await refused(caller.say(Words(text="wrong")))
    _, busy = await refused(caller.say(Words(text="busy")))

    assert isinstance(wrong, errors.InvalidRequest)
    assert [violation.field for violation in wrong.violations] == ["a", "b[1]"]
    assert isinstance(busy, errors.HostUnavailable)
    assert busy.retry_after == 7.0


async def test_an_error_in_the_middle_of_a_stream_comes_after_what_was_said(caller: Caller) -> None:
    call = caller.repeat(Words(text="missing", times=3))
    found = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for words in call:
            found.append(words.times)

    assert found == [0, 1, 2]
    assert isinstance(errors.from_rpc_error(caught.value), errors.NotFound)


async def test_a_bug_of_the_service_is_not_told(caller: Caller) -> None:
    _, error = await refused(caller.say(Words(text="bug")))

    assert error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "a bug" not in str(error)
    assert "ZeroDivisionError" in error.message


@pytest.mark.parametrize("metadata", [METADATA, ()], ids=["ours", "a stranger"])
async def test_more_details_than_the_client_takes_are_cut_not_lost(caller: Caller, metadata: Any) -> None:
    _, error = await refused(caller.say(Words(text="many"), metadata=metadata))

    assert isinstance(error, errors.InvalidRequest)
    assert error.violations
    assert error.violations[0].field == "field[0]"


async def test_a_service_that_is_down_is_named(tmp_path: Path) -> None:
    socket = tmp_path / "nowhere.sock"
    service = Talks()
    async with plane(tmp_path, {}, elsewhere={"talks": socket}) as cp:
        caller = Caller(cp.channel)
        async with serve_service("talks", talks.factory(service), socket, state_dir=tmp_path / "state"):

            async def answers() -> bool:
                try:
                    return bool((await caller.say(Words(text="a"))).text == "a")
                except grpc.aio.AioRpcError:
                    return False

            await eventually(answers)
        raw, error = await refused(caller.say(Words(text="a")))
        assert raw.code() is grpc.StatusCode.UNAVAILABLE
        assert "talks" in error.message
        async with serve_service("talks", talks.factory(service), socket, state_dir=tmp_path / "state"):
            await eventually(answers)


async def test_a_service_that_was_never_seen_is_named(tmp_path: Path) -> None:
    async with plane(tmp_path, {}, elsewhere={"talks": tmp_path / "nowhere.sock"}) as cp:
        raw, error = await refused(Caller(cp.channel).say(Words(text="a")))

    assert raw.code() is grpc.StatusCode.UNAVAILABLE
    assert "service talks does not answer: nobody listens" in error.message
    assert "ncc serve talks" in error.next_step


async def test_nobody_reaches_the_manager_contract_of_a_service(cp: Plane) -> None:
    """Clients write desired state; only the reconciler acts."""
    stub: Any = manager_pb2_grpc.ManagerServiceStub(cp.channel)
    for call in (stub.Describe(manager_pb2.DescribeRequest()), stub.Apply(manager_pb2.ApplyRequest())):
        raw, _ = await refused(call)
        assert raw.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["/nixcc.talks.v1.TalkService/Shout", "/no.Such/Thing", "/", "/a"])
async def test_methods_that_are_not_there(cp: Plane, method: str) -> None:
    raw, _ = await refused(cp.channel.unary_unary(method)(b""))

    assert raw.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_slow_reader_does_not_hold_up_others(caller: Caller) -> None:
    slow = caller.repeat(Words(text="x" * 100_000, times=2_000))
    await slow.read()

    async with asyncio.timeout(5):
        for number in range(20):
            assert (await caller.say(Words(text=f"{number}"))).text == f"{number}"
    slow.cancel()
