"""The domain rpcs over their socket, on a real dockerd: output, programs, statistics, events, pruning."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from common.errors import HostUnavailable
from common.host import serve_service
from common.manager import Context, Service
from common.rpc import aio_channel
from dockerd import BUSYBOX, Dockerd, dockerd
from nixcc.homelab.v1 import homelab_pb2 as pb
from nixcc.homelab.v1 import homelab_pb2_grpc
from services.homelab.drivers.base import Engine
from services.homelab.drivers.docker import DockerEngine
from services.homelab.models import Declared
from services.homelab.rpc import NAME, HomelabServicer
from services.homelab.service import HomelabService

pytestmark = pytest.mark.host

# Connections to the engine that stay open between short calls.
KEPT = 16


@pytest.fixture(scope="module")
def daemon(require: Any) -> Iterator[Dockerd]:
    require(binary="dockerd", root=True)
    with dockerd() as started:
        started.busybox()
        yield started


@pytest.fixture(scope="module")
def engine(daemon: Dockerd) -> Iterator[Engine]:
    made = DockerEngine(daemon.address)
    yield made
    made.close()


@pytest.fixture
def declared() -> list[Declared | Exception]:
    """What the control plane says is declared: the test changes it."""
    return [Declared()]


@pytest.fixture
async def stub(engine: Engine, declared: list[Declared | Exception], tmp_path: Path) -> AsyncIterator[Any]:
    def read() -> Declared:
        if isinstance(declared[0], Exception):
            raise declared[0]
        return declared[0]

    def create(context: Context) -> Service:
        servicer = HomelabServicer(HomelabService(engine, read), context)
        return Service(
            name="homelab",
            kinds=(),
            driver=engine.name,
            register=lambda server: homelab_pb2_grpc.add_HomelabServiceServicer_to_server(servicer, server),
            rpc_services=(NAME,),
        )

    async with (
        serve_service("homelab", create, tmp_path / "h.sock", state_dir=tmp_path),
        aio_channel(tmp_path / "h.sock") as channel,
    ):
        yield homelab_pb2_grpc.HomelabServiceStub(channel)


@pytest.fixture
def run(daemon: Dockerd) -> Iterator[Callable[..., str]]:
    """Starts a container of busybox; all of them are removed afterwards."""
    made: list[str] = []

    def start(name: str, script: str = "sleep infinity", *options: str) -> str:
        made.append(name)
        arguments = (
            "run",
            "--detach",
            "--name",
            name,
            *options,
            BUSYBOX,
            "sh",
            "-c",
            f"trap exit TERM; {script}",
        )
        daemon.docker(*arguments)
        return name

    yield start
    daemon.docker("rm", "--force", "--volumes", *made, check=False)


async def until(test: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def code(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    return raised.value.code(), raised.value.details() or ""


# Connections that the engine's client keeps for the next call; the streams of each round are more.
KEPT = 6


def threads() -> int:
    """Threads of this process but for those of the service's executor, which come when needed, and stay."""
    return sum(not thread.name.startswith("homelab_") for thread in threading.enumerate())


def sockets() -> int:
    """Open sockets of this process."""
    count = 0
    for entry in os.scandir("/proc/self/fd"):
        try:
            count += os.readlink(entry.path).startswith("socket:")
        except OSError:
            continue
    return count


async def lines(call: Any) -> list[Any]:
    return [line async for response in call for line in response.lines]


# Looking.


async def test_containers_are_listed_and_read(stub: Any, run: Any) -> None:
    run("web", "sleep infinity", "--label", "com.docker.compose.project=shop", "--health-cmd", "false")
    run("gone", "exit 3", "--label", "com.docker.compose.project=other")
    await until(lambda: True)
    listed = (await stub.ListContainers(pb.ListContainersRequest())).containers
    assert [one.name for one in listed] == ["gone", "web"]
    only = (await stub.ListContainers(pb.ListContainersRequest(stack="shop"))).containers
    assert [one.name for one in only] == ["web"]
    web = (await stub.GetContainer(pb.GetContainerRequest(name="web"))).container
    assert (web.state, web.health, web.image, web.stack) == (
        pb.CONTAINER_STATE_RUNNING,
        pb.CONTAINER_HEALTH_STARTING,
        BUSYBOX,
        "shop",
    )
    assert abs(web.start_time.ToSeconds() - time.time()) < 60
    await asyncio.sleep(0)

    async def ended() -> Any:
        return (await stub.GetContainer(pb.GetContainerRequest(name="gone"))).container

    while (gone := await ended()).state == pb.CONTAINER_STATE_RUNNING:
        await asyncio.sleep(0.01)
    assert (gone.state, gone.exit_code) == (pb.CONTAINER_STATE_EXITED, 3)


async def test_processes_and_restart(stub: Any, run: Any) -> None:
    run("web", "sleep 1234 & wait")
    found = await stub.ListProcesses(pb.ListProcessesRequest(container="web"))
    assert "PID" in found.titles
    assert any("sleep 1234" in " ".join(row.values) for row in found.processes)
    before = (await stub.GetContainer(pb.GetContainerRequest(name="web"))).container
    request = pb.RestartContainerRequest(container="web")
    request.grace.FromSeconds(0)
    after = (await stub.RestartContainer(request)).container
    assert after.id == before.id
    assert after.start_time.ToNanoseconds() > before.start_time.ToNanoseconds()


async def test_the_engine_tells_about_itself(stub: Any, daemon: Dockerd) -> None:
    found = await stub.GetEngine(pb.GetEngineRequest())
    assert (found.name, found.address) == ("docker", daemon.address)
    assert found.version == daemon.docker("version", "--format", "{{.Server.Version}}").stdout.strip()


async def test_what_is_not_there_and_what_does_not_run(stub: Any, run: Any) -> None:
    run("ended", "true")
    await until(lambda: True)
    status = grpc.StatusCode
    start = pb.ExecStart(container="none", command=["true"])
    for call in (
        stub.GetContainer(pb.GetContainerRequest(name="none")),
        stub.RestartContainer(pb.RestartContainerRequest(container="none")),
        stub.ListProcesses(pb.ListProcessesRequest(container="none")),
        stub.StreamLogs(pb.StreamLogsRequest(containers=["none"])),
        stub.StreamLogs(pb.StreamLogsRequest(stack="none")),
        stub.WatchContainerStats(pb.WatchContainerStatsRequest(containers=["none"])),
        stub.CheckUpdates(pb.CheckUpdatesRequest(containers=["none"])),
        stub.Exec(iter([pb.ExecRequest(start=start)])),
    ):
        assert (await code(call))[0] is status.NOT_FOUND
    for call in (
        stub.StreamLogs(pb.StreamLogsRequest()),
        stub.Exec(iter([pb.ExecRequest(input=b"x")])),
        stub.Exec(iter([pb.ExecRequest(start=pb.ExecStart(container="ended"))])),
        stub.PullImage(pb.PullImageRequest()),
        stub.PullImage(pb.PullImageRequest(reference="x", credentials_file="a/b")),
        stub.Prune(pb.PruneRequest(dry_run=True)),
        stub.GetContainer(pb.GetContainerRequest()),
    ):
        assert (await code(call))[0] is status.INVALID_ARGUMENT
    start = pb.ExecStart(container="ended", command=["true"])
    found, text = await code(stub.Exec(iter([pb.ExecRequest(start=start)])))
    assert found is status.FAILED_PRECONDITION
    assert "does not run" in text


# Output.


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


async def test_a_client_that_leaves_takes_its_threads_and_connections_with_it(stub: Any, run: Any) -> None:
    names = [run(f"talk{n}", "while :; do echo hello; usleep 5000; done") for n in range(5)]
    calm = [run("calm")]
    await lines(stub.StreamLogs(pb.StreamLogsRequest(containers=names)))
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
        await until(lambda: threads() <= alive and sockets() <= open_ + KEPT)
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
    await asyncio.sleep(1.5)
    grown = process.memory_info().rss - before
    call.cancel()
    assert grown < 16 * 2**20, f"{grown / 2**20:.0f} MiB"


# Programs.


async def talk(stub: Any, start: pb.ExecStart, *inputs: bytes) -> tuple[bytes, bytes, int | None]:
    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(start=start)
        for data in inputs:
            yield pb.ExecRequest(input=data)

    out, err, ended = b"", b"", None
    async for response in stub.Exec(requests()):
        event = response.WhichOneof("event")
        out += response.stdout
        err += response.stderr
        if event == "exit_code":
            ended = response.exit_code
    return out, err, ended


async def test_a_program_gets_its_input_and_tells_its_code(stub: Any, run: Any) -> None:
    run("web")
    start = pb.ExecStart(container="web", command=["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert await talk(stub, start) == (b"out\n", b"err\n", 7)
    start = pb.ExecStart(container="web", command=["sh", "-c", "id -u; pwd"], user="web", working_dir="/tmp")
    assert await talk(stub, start) == (b"1000\n/tmp\n", b"", 0)
    data = os.urandom(3_000_000)
    chunks = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
    assert await talk(stub, pb.ExecStart(container="web", command=["cat"]), *chunks) == (data, b"", 0)
    out, _, ended = await talk(stub, pb.ExecStart(container="web", command=["/none"]))
    assert ended in (126, 127), out


async def test_a_terminal_has_a_size_that_can_change(stub: Any, run: Any) -> None:
    run("web")
    call = stub.Exec()
    start = pb.ExecStart(container="web", command=["sh"], tty=True)
    await call.write(pb.ExecRequest(start=start))
    for rows, columns in ((33, 111), (44, 122)):
        await call.write(pb.ExecRequest(resize=pb.TerminalSize(rows=rows, columns=columns)))
        # A terminal echoes what is typed: the answer is told from it by its quotes.
        await call.write(pb.ExecRequest(input=b"sleep 0.2; echo size '='$(stty size)\n"))
        seen = b""
        async with asyncio.timeout(10):
            while f"size ={rows} {columns}".encode() not in seen:
                seen += (await call.read()).stdout
    await call.write(pb.ExecRequest(input=b"exit 5\n"))
    while (event := await call.read()).WhichOneof("event") != "exit_code":
        pass
    assert event.exit_code == 5


async def test_a_client_that_leaves_closes_its_session(stub: Any, run: Any, daemon: Dockerd) -> None:
    run("web")
    await talk(stub, pb.ExecStart(container="web", command=["true"]))
    alive = threads()
    call = stub.Exec()
    await call.write(pb.ExecRequest(start=pb.ExecStart(container="web", command=["cat"])))
    await call.write(pb.ExecRequest(input=b"hello\n"))
    assert (await call.read()).stdout == b"hello\n"
    assert "cat" in daemon.docker("top", "web").stdout
    call.cancel()
    await until(lambda: threads() <= alive)
    await until(lambda: "cat" not in daemon.docker("top", "web").stdout)


async def test_a_program_that_reads_nothing_holds_nobody_else(stub: Any, run: Any) -> None:
    run("web")

    async def requests() -> AsyncIterator[pb.ExecRequest]:
        yield pb.ExecRequest(start=pb.ExecStart(container="web", command=["sleep", "1000"]))
        while True:
            yield pb.ExecRequest(input=b"x" * 65_536)

    calls = [stub.Exec(requests()) for _ in range(10)]
    readers = [asyncio.create_task(call.read()) for call in calls]
    await asyncio.sleep(0.5)
    async with asyncio.timeout(5):
        await stub.GetContainer(pb.GetContainerRequest(name="web"))
    for call in calls:
        call.cancel()
    await asyncio.gather(*readers, return_exceptions=True)


async def test_programs_at_once_are_bounded(stub: Any, run: Any) -> None:
    run("web")
    calls = []
    for _ in range(32):
        call = stub.Exec()
        await call.write(pb.ExecRequest(start=pb.ExecStart(container="web", command=["cat"])))
        await call.write(pb.ExecRequest(input=b"."))
        calls.append(call)
    await asyncio.gather(*(call.read() for call in calls))
    start = pb.ExecStart(container="web", command=["true"])
    found, text = await code(stub.Exec(iter([pb.ExecRequest(start=start)])))
    assert (found, "at most 32" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    for call in calls:
        call.cancel()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert (await talk(stub, start))[2] == 0
            break
        except grpc.aio.AioRpcError:
            assert time.monotonic() < deadline


# Statistics and events.


async def test_statistics_agree_with_docker(stub: Any, run: Any, daemon: Dockerd) -> None:
    run("busy", "while :; do :; done", "--memory", "64m", "--cpus", "0.5")
    run("calm")
    request = pb.WatchContainerStatsRequest()
    request.interval.FromMilliseconds(1_500)
    call = stub.WatchContainerStats(request)
    first, second = await call.read(), await call.read()
    call.cancel()
    assert [row.container for row in first.stats] == ["busy", "calm"]
    assert not any(row.HasField("cpu_percent") for row in first.stats)
    busy, calm = second.stats
    assert 30 < busy.cpu_percent < 70
    assert calm.cpu_percent < 5
    assert busy.memory_limit_bytes == 64 * 2**20
    assert busy.pids == 1
    shown = daemon.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "calm").stdout
    used = float(shown.split("iB")[0].rstrip("KMG")) * {"K": 2**10, "M": 2**20}.get(
        shown.split("iB")[0][-1], 1
    )
    assert abs(calm.memory_bytes - used) < 256 * 1024


@pytest.mark.parametrize("seconds", [0.1, 4_000, -1])
async def test_intervals_have_bounds(stub: Any, seconds: float) -> None:
    request = pb.WatchContainerStatsRequest()
    request.interval.FromMilliseconds(int(seconds * 1_000))
    assert (await code(stub.WatchContainerStats(request)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_events_come_from_the_past_and_as_they_happen(stub: Any, run: Any, daemon: Dockerd) -> None:
    alive = threads()
    request = pb.WatchEngineEventsRequest()
    request.since.FromNanoseconds(time.time_ns())
    run("web")
    call = stub.WatchEngineEvents(request)

    async def next_of(action: str) -> Any:
        async with asyncio.timeout(10):
            while True:
                event = await call.read()
                if (event.type, event.name, event.action) == ("container", "web", action):
                    return event

    await next_of("start")
    daemon.docker("kill", "web")
    died = await next_of("die")
    assert died.attributes["exitCode"] == "137"
    call.cancel()
    await until(lambda: threads() <= alive)


# Pruning.


async def pruned(stub: Any, **fields: Any) -> pb.PruneResult:
    events = [event async for event in stub.Prune(pb.PruneRequest(**fields))]
    return events[-1].result


async def test_pruning_tells_first_and_keeps_what_is_declared(
    stub: Any, run: Any, daemon: Dockerd, declared: list[Any]
) -> None:
    run("runs", "sleep infinity", "--volume", "used:/data")
    run("old", "echo hello > /data/x", "--volume", "of-old:/data")
    run("mine", "true")
    for name in ("free", "mine", "shop_data"):
        label = ("--label", "com.docker.compose.project=shop") if name == "shop_data" else ()
        daemon.docker("volume", "create", *label, name)
    for name in ("lone", "mine"):
        daemon.docker("network", "create", "--internal", name)
    daemon.docker("tag", BUSYBOX, "other:1")
    daemon.busybox("unused:1", ("true",))
    daemon.busybox("mine:1", ("false",))
    declared[0] = Declared(
        containers=frozenset({"mine"}),
        networks=frozenset({"mine"}),
        volumes=frozenset({"mine"}),
        images=frozenset({"mine:1"}),
    )
    deadline = time.monotonic() + 10
    while daemon.docker("ps", "--quiet").stdout.count("\n") > 1:
        assert time.monotonic() < deadline
    every: dict[str, Any] = {"containers": True, "images": True, "networks": True, "volumes": True}
    try:
        told = await pruned(stub, dry_run=True, **every)
        expected = {
            ("container", "old"),
            ("network", "lone"),
            ("volume", "free"),
            ("volume", "of-old"),
            ("image", "unused:1"),
        }
        assert {(row.type, row.name) for row in told.items} == expected
        assert {(row.type, row.name) for row in told.kept} == {
            ("container", "mine"),
            ("network", "mine"),
            ("volume", "mine"),
            ("volume", "shop_data"),
            ("image", "mine:1"),
        }
        assert {row.name: row.bytes for row in told.items}["of-old"] >= len("hello\n")
        assert told.freed_bytes == sum(row.bytes for row in told.items)
        assert "old" in daemon.docker("ps", "--all", "--format", "{{.Names}}").stdout.split()
        done = await pruned(stub, **every)
        assert {(row.type, row.name) for row in done.items} == expected
        again = await pruned(stub, dry_run=True, **every)
        assert not again.items
        assert set(daemon.docker("volume", "ls", "--quiet").stdout.split()) == {"used", "mine", "shop_data"}
        assert "runs" in daemon.docker("ps", "--format", "{{.Names}}").stdout.split()
    finally:
        declared[0] = Declared()
        daemon.docker("rm", "--force", "runs", "old", "mine")
        daemon.docker("volume", "rm", "mine", "shop_data", "used", check=False)
        daemon.docker("network", "rm", "mine", check=False)
        daemon.docker("rmi", "mine:1", "other:1", check=False)


async def test_nothing_is_pruned_while_nobody_knows_what_is_declared(
    stub: Any, run: Any, daemon: Dockerd, declared: list[Any]
) -> None:
    run("old", "true")
    declared[0] = HostUnavailable("what is declared can't be read", next_step="run the reconciler")
    found, text = await code(stub.Prune(pb.PruneRequest(containers=True)))
    assert found is grpc.StatusCode.UNAVAILABLE
    assert "declared" in text
    assert "old" in daemon.docker("ps", "--all", "--format", "{{.Names}}").stdout.split()
