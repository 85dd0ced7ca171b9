"""The homelab service at a socket, on a real dockerd."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.host import serve_service
from common.manager import Context, Service
from common.rpc import aio_channel
from dockerd import BUSYBOX, Dockerd, dockerd
from nixcc.homelab.v1 import homelab_pb2_grpc
from services.homelab.drivers.base import Engine
from services.homelab.drivers.docker import DockerEngine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.image_updates.updater import Updater
from services.homelab.models import Declared
from services.homelab.rpc import NAME, HomelabServicer
from services.homelab.service import HomelabService


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

    updater = Updater(engine, read, UpdateRecords(tmp_path / "updates.json"), "0 4 * * *")

    def create(context: Context) -> Service:
        servicer = HomelabServicer(HomelabService(engine, read, updater), context)
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
