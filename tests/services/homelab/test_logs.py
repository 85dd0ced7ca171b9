"""Output over the wire: merged, followed, and let go of, on a real dockerd."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from homelab_calls import lines, sockets, threads, until
from nixcc.homelab.v1 import homelab_pb2 as pb
from services.homelab.drivers.base import Engine

pytestmark = pytest.mark.host


async def test_output_of_many_is_merged_by_time(stub: Any, run: Any) -> None:
    for name in ("aa", "bb", "cc"):
        run(
            name,
            f"for n in 1 2 3 4 5 6 7 8 9; do echo {name}$n; usleep 3000; done; echo end >&2; sleep infinity",
        )
    request = pb.StreamLogsRequest(containers=["aa", "bb", "cc", "aa"])
    deadline = time.monotonic() + 10
    while len(found := await lines(stub.StreamLogs(request))) < 30:
        assert time.monotonic() < deadline
    times = [line.time.ToNanoseconds() for line in found]
    assert times == sorted(times)
    assert [line.line for line in found if line.container == "bb" and not line.stderr] == [
        b"bb%d" % n for n in range(1, 10)
    ]
    assert sorted(line.container for line in found if line.stderr) == ["aa", "bb", "cc"]
    two = await lines(stub.StreamLogs(pb.StreamLogsRequest(containers=["aa", "cc"], tail=2)))
    assert sorted(line.line for line in two) == [b"aa9", b"cc9", b"end", b"end"]
    request = pb.StreamLogsRequest(containers=["aa"])
    request.since.FromNanoseconds(found[-1].time.ToNanoseconds() + 1_000_000)
    assert await lines(stub.StreamLogs(request)) == []


async def test_a_whole_stack_is_followed_without_a_line_twice_or_lost(stub: Any, run: Any) -> None:
    names = ["shop-a", "shop-b"]
    for name in names:
        script = "n=0; while [ $n -lt 400 ]; do echo $n; n=$((n+1)); usleep 1000; done"
        run(name, script, "--label", "com.docker.compose.project=shop")
    found = await lines(stub.StreamLogs(pb.StreamLogsRequest(stack="shop", follow=True)))
    for name in names:
        assert [int(line.line) for line in found if line.container == name] == list(range(400))


async def test_a_client_that_leaves_takes_its_threads_and_connections_with_it(
    stub: Any, run: Any, engine: Engine
) -> None:
    names = [run(f"talk{n}", "while :; do echo hello; usleep 5000; done") for n in range(5)]
    calm = [run("calm")]
    await lines(stub.StreamLogs(pb.StreamLogsRequest(containers=names)))
    # All the connections that are kept for short calls: from here on each further one is a stream's.
    with ThreadPoolExecutor(32) as together:
        for _ in range(3):
            list(together.map(lambda _: engine.containers.inspect("calm"), range(64)))
    alive, open_ = threads(), sockets()
    for _ in range(6):
        call = stub.StreamLogs(pb.StreamLogsRequest(containers=names + calm, follow=True))
        seen: set[str] = set()
        async for response in call:
            seen.update(line.container for line in response.lines)
            if len(seen) == 5 and threads() >= alive + 6:
                break
        assert threads() >= alive + 6
        call.cancel()
        started = time.monotonic()
        await until(lambda: threads() <= alive and sockets() <= open_)
        assert time.monotonic() - started < 2


async def test_a_slow_client_does_not_make_the_daemon_grow(stub: Any, run: Any) -> None:
    import psutil

    run(
        "loud", "yes 'a line that is written over and over again, and says nothing at all' | head -c 60000000"
    )
    call = stub.StreamLogs(pb.StreamLogsRequest(containers=["loud"], follow=True))
    await call.read()
    process = psutil.Process()
    before = process.memory_info().rss
    await asyncio.sleep(1.5)  # for so long nobody reads
    grown = process.memory_info().rss - before
    call.cancel()
    assert grown < 16 * 2**20, f"{grown / 2**20:.0f} MiB"


# Programs.
