"""kill -9 at every named failpoint: nothing acknowledged is lost, nothing is half-applied, and the host converges."""

from __future__ import annotations

import random
import re
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

import daemons
from common import failpoints
from daemons import Daemon, until
from nixcc.resource.v1 import resource_pb2
from nixcc.state.v1 import state_pb2, state_pb2_grpc
from nixcc.system.v1 import file_pb2

POINTS = (
    "store.before_commit",
    "store.in_transaction",
    "store.after_commit",
    "store.before_notify",
    "state.before_commit",
    "state.after_commit",
    "reconcile.before_apply",
    "reconcile.after_apply",
    "reconcile.before_status",
    "file.before_rename",
    "file.after_rename",
)
SETS, SET_SIZE = 6, 4
CONVERGED_WITHIN = 10.0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere(tmp_path: Path, point: str, seed: int) -> None:
    crash(tmp_path, point, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 25))
@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_more_often(tmp_path: Path, point: str, seed: int) -> None:
    crash(tmp_path, point, seed)


def test_every_failpoint_is_tried() -> None:
    root = Path(__file__).resolve().parents[2]
    found = set()
    for package in ("common", "reconciler", "services"):
        for path in (root / package).rglob("*.py"):
            found.update(re.findall(r'\bhit\("([a-z_.]+)"\)', path.read_text()))
    assert found >= set(POINTS)
    # The others need a host of their own: their services' tests kill there.
    tests = [path for path in (root / "tests").rglob("test_*.py") if path != Path(__file__).resolve()]
    texts = "\n".join(path.read_text() for path in tests)
    untried = {
        point
        for point in found - set(POINTS)
        if point not in texts and f'"{point.partition(".")[2]}"' not in texts
    }
    assert not untried


def crash(folder: Path, point: str, seed: int) -> None:
    """Runs a workload until the daemon dies at the point, restarts it, and holds it to what it had acknowledged."""
    chance = random.Random(f"{point}/{seed}")
    count = chance.randint(1, 6)
    first = daemons.start(
        folder, "system", "reconciler", env={failpoints.ENVIRONMENT: f"{point}=kill:{count}"}
    )
    try:
        acknowledged, attempted = _workload(first, chance)
        if first.process.poll() is None:
            # The point was not reached often enough: any moment will do.
            first.process.send_signal(signal.SIGKILL)
        assert first.process.wait(20) == -signal.SIGKILL
    finally:
        if first.process.poll() is None:
            first.stop(signal.SIGKILL)
    with daemons.daemon(folder, "system", "reconciler") as second, _channel(second) as channel:
        stub = state_pb2_grpc.StateServiceStub(channel)
        stored = _stored(stub)
        for number, value in acknowledged.items():
            for name in _names(number):
                assert name in stored, f"{name} was acknowledged and is lost"
                assert stored[name] in attempted[number], f"{name} holds what nobody wrote"
                assert stored[name] >= value, f"{name} fell back behind what was acknowledged"
        for number in range(SETS):
            values = {stored.get(name) for name in _names(number)}
            assert len(values) == 1, f"set {number} is half-applied: {values}"

        def converged() -> bool:
            return all(
                _read(second.root / f"etc/{name}") == _content(name, value)
                for name, value in _stored(stub).items()
            )

        until(converged, CONVERGED_WITHIN, every=0.05)
        until(lambda: all(map(_ready, _listed(stub))), CONVERGED_WITHIN, every=0.05)
    leftovers = {path.name for path in (folder / "root/etc").iterdir()} - set(stored)
    assert not leftovers, f"left behind: {leftovers}"


def _workload(running: Daemon, chance: random.Random) -> tuple[dict[int, int], dict[int, set[int]]]:
    """Applies sets again and again while files are changed behind its back, until the daemon is gone."""
    acknowledged: dict[int, int] = {}
    attempted: dict[int, set[int]] = {}
    until(lambda: running.socket.exists() or running.process.poll() is not None)
    with _channel(running) as channel:
        stub = state_pb2_grpc.StateServiceStub(channel)
        for value in range(1, 9):
            for number in chance.sample(range(SETS), SETS):
                attempted.setdefault(number, set()).add(value)
                try:
                    until(lambda: _apply(stub, number, value), 15)  # noqa: B023 - called at once
                except (grpc.RpcError, AssertionError):
                    if running.process.poll() is not None or not _alive(stub):
                        return acknowledged, attempted
                    raise
                acknowledged[number] = value
                victim = running.root / f"etc/{chance.choice(_names(number))}"
                if victim.exists() and chance.random() < 0.5:
                    victim.write_text("hacked\n")
    return acknowledged, attempted


def _apply(stub: Any, number: int, value: int) -> bool:
    request = state_pb2.ApplyRequest()
    for name in _names(number):
        resource = request.resources.add(kind="File")
        resource.metadata.name = name
        spec = file_pb2.File(path=f"/etc/{name}", content=_content(name, value).decode(), mode=0o644)
        resource.spec.Pack(spec)
    try:
        stub.Apply(request, timeout=10)
    except grpc.RpcError as error:
        code: Any = error
        # Only at the start: the system service was not seen yet.
        if code.code() is grpc.StatusCode.UNAVAILABLE and "service" in (code.details() or ""):
            return False
        raise
    return True


def _alive(stub: Any) -> bool:
    try:
        stub.List(state_pb2.ListRequest(page_size=1), timeout=5)
    except grpc.RpcError:
        return False
    return True


def _listed(stub: Any) -> list[resource_pb2.Resource]:
    return list(stub.List(state_pb2.ListRequest(kind="File", page_size=1_000), timeout=10).resources)


def _stored(stub: Any) -> dict[str, int]:
    found = {}
    for resource in _listed(stub):
        spec = file_pb2.File()
        assert resource.spec.Unpack(spec)
        found[resource.metadata.name] = int(spec.content.split()[-1])
    return found


def _ready(resource: resource_pb2.Resource) -> bool:
    return any(
        c.type == "Ready"
        and c.status == resource_pb2.CONDITION_STATUS_TRUE
        and c.observed_generation == resource.metadata.generation
        for c in resource.status.conditions
    )


def _names(number: int) -> list[str]:
    return [f"s{number}-{index}" for index in range(SET_SIZE)]


def _content(name: str, value: int) -> bytes:
    return f"{name} {value}\n".encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _channel(running: Daemon) -> grpc.Channel:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
    return grpc.insecure_channel(f"unix:{running.socket}", options=options)
