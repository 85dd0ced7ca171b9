"""Servers and channels: limits, deadlines, errors that fit, sockets for their owner alone."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import talks
from common import errors
from common.rpc import MAX_MESSAGE, METADATA, CallMetrics, aio_channel, bind, new_server, stop, target
from plane import eventually
from talks import Caller, Talks, Words


@pytest.fixture
async def service() -> Talks:
    return Talks()


@pytest.fixture
def metrics() -> CallMetrics:
    return CallMetrics()


@pytest.fixture
async def socket(tmp_path: Path, service: Talks, metrics: CallMetrics) -> AsyncIterator[Path]:
    server = new_server(metrics)
    service.register(server)
    bind(server, tmp_path / "run" / "talks.sock")
    await server.start()
    yield tmp_path / "run" / "talks.sock"
    await server.stop(None)


@pytest.fixture
async def caller(socket: Path) -> AsyncIterator[Caller]:
    async with aio_channel(socket) as channel:
        yield Caller(channel)


async def failed(call: Any) -> tuple[grpc.StatusCode, errors.ControlError]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), errors.from_rpc_error(caught.value)


async def test_messages_up_to_the_limit_go_both_ways_and_larger_ones_are_refused(caller: Caller) -> None:
    text = "x" * (MAX_MESSAGE - 100)
    assert len((await caller.say(Words(text=text))).text) == len(text)

    code, _ = await failed(caller.say(Words(text="x" * (MAX_MESSAGE + 1))))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    answer, _ = await failed(caller.say(Words(text="x" * (MAX_MESSAGE // 2), times=3)))

    assert answer is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await caller.say(Words(text="a"))).text == "a", "the connection survives"


async def test_a_message_beyond_a_strangers_limits_is_refused_by_the_server(socket: Path) -> None:
    async with grpc.aio.insecure_channel(
        target(socket), options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        code, _ = await failed(Caller(channel).say(Words(text="x" * (MAX_MESSAGE + 1))))

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_deadline_ends_the_handler_too(caller: Caller, service: Talks, metrics: CallMetrics) -> None:
    code, error = await failed(caller.say(Words(text="wait"), timeout=0.1))

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert isinstance(error, errors.DeadlineExceeded)
    await eventually(lambda: service.on_line == 0)
    await eventually(lambda: "CANCELLED" in {status(sample) for sample in metrics.samples()})


def status(sample: Any) -> str:
    return str(dict(sample.labels)["grpc_status"])


async def test_calls_are_counted_by_method_and_status(caller: Caller, metrics: CallMetrics) -> None:
    await caller.say(Words(text="a"))
    await failed(caller.say(Words(text="missing")))
    await failed(caller.say(Words(text="bug")))
    [_ async for _ in caller.repeat(Words(text="a", times=2))]

    found = sorted((dict(s.labels)["grpc_method"].rpartition("/")[2], status(s)) for s in metrics.samples())

    assert found == [("Repeat", "OK"), ("Say", "INTERNAL"), ("Say", "NOT_FOUND"), ("Say", "OK")]


@pytest.mark.parametrize("ours", [True, False], ids=["our client", "a stranger"])
async def test_details_larger_than_metadata_may_be_are_cut_to_fit(caller: Caller, ours: bool) -> None:
    """More than the client takes would lose the whole status, not just its details."""
    code, error = await failed(caller.say(Words(text="many"), metadata=METADATA if ours else ()))

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, errors.InvalidRequest)
    assert [v.field for v in error.violations] == [f"field[{n}]" for n in range(len(error.violations))]
    assert len(error.violations) > (1_000 if ours else 5)


@pytest.mark.parametrize("claim", ["", "-1", "1e9", "99999999999999999999", "x" * 100])
async def test_a_client_that_lies_about_its_limits_harms_only_itself(caller: Caller, claim: str) -> None:
    metadata = (("nixcc-max-metadata", claim),)
    code, _ = await failed(caller.say(Words(text="many"), metadata=metadata))

    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert (await caller.say(Words(text="a"))).text == "a"


async def test_a_message_longer_than_metadata_may_be_is_cut(caller: Caller, service: Talks) -> None:
    talks.ERRORS["long"] = lambda: errors.ControlError("€" * 100_000, next_step="read less")
    try:
        _, error = await failed(caller.say(Words(text="long")))
    finally:
        del talks.ERRORS["long"]

    assert error.message.startswith("€" * 100)
    assert len(error.message) < 10_000


async def test_a_socket_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        server = new_server(CallMetrics())
        bind(server, tmp_path / "new" / "a.sock")
        assert os.umask(0) == 0, "the umask is as it was"
    finally:
        os.umask(before)
    await server.start()

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new/a.sock").stat().st_mode) == 0o600
    await server.stop(None)


async def test_a_stale_socket_is_replaced(tmp_path: Path, service: Talks) -> None:
    path = tmp_path / "a.sock"
    path.write_text("left by a crash")
    server = new_server(CallMetrics())
    service.register(server)
    bind(server, path)
    await server.start()

    async with aio_channel(path) as channel:
        assert (await Caller(channel).say(Words(text="a"))).text == "a"
    await server.stop(None)


@pytest.mark.parametrize("folder", ["file", "file/below"])
async def test_a_socket_that_can_not_be_is_refused_with_the_reason(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(errors.HostUnavailable, match="can't listen at") as caught:
        bind(new_server(CallMetrics()), tmp_path / folder / "a.sock")
    assert "--socket" in caught.value.next_step


async def test_a_channel_connects_once_the_server_comes_and_again_when_it_comes_back(
    tmp_path: Path, service: Talks
) -> None:
    path = tmp_path / "late.sock"
    async with aio_channel(path) as channel:
        caller = Caller(channel)
        assert (await failed(caller.say(Words(text="a"))))[0] is grpc.StatusCode.UNAVAILABLE
        for _ in range(2):
            server = new_server(CallMetrics())
            service.register(server)
            bind(server, path)
            await server.start()

            async def answers() -> bool:
                try:
                    return bool((await caller.say(Words(text="a"))).text == "a")
                except grpc.aio.AioRpcError:
                    return False

            await eventually(answers)
            await server.stop(None)


async def test_a_server_that_ends_sends_every_answer_and_takes_no_further_call(
    tmp_path: Path, service: Talks, metrics: CallMetrics
) -> None:
    server = new_server(metrics)
    service.register(server)
    bind(server, tmp_path / "a.sock")
    await server.start()
    service.go_on.clear()
    async with aio_channel(tmp_path / "a.sock") as channel:
        caller = Caller(channel)
        calls = [asyncio.create_task(_last(caller.work(Words(text=f"{n}", times=3)))) for n in range(100)]
        await eventually(lambda: service.on_line == 100)

        ending = asyncio.create_task(stop(server, metrics, 10))
        await asyncio.sleep(0)
        code, error = await failed(caller.say(Words(text="late")))
        assert (code, error.message) == (grpc.StatusCode.UNAVAILABLE, "the daemon is ending")
        assert not ending.done()
        service.go_on.set()

        assert [step.text for step in await asyncio.gather(*calls)] == [f"{n} is done" for n in range(100)]
        await ending
    assert "late" not in service.heard


async def test_a_server_that_ends_waits_no_longer_than_it_is_told_to(
    tmp_path: Path, service: Talks, metrics: CallMetrics
) -> None:
    server = new_server(metrics)
    service.register(server)
    bind(server, tmp_path / "a.sock")
    await server.start()
    async with aio_channel(tmp_path / "a.sock") as channel:
        call = asyncio.create_task(failed(Caller(channel).say(Words(text="wait"))))
        await eventually(lambda: service.on_line == 1)
        start = time.monotonic()

        await stop(server, metrics, 0.2)

        assert 0.2 <= time.monotonic() - start < 5
        await call
    assert service.on_line == 0


async def _last(steps: Any) -> Any:
    return [step async for step in steps][-1]


async def test_many_calls_at_once(caller: Caller) -> None:
    texts = [f"{number}" for number in range(500)]

    found = await asyncio.gather(*(caller.say(Words(text=text)) for text in texts))

    assert [words.text for words in found] == texts
