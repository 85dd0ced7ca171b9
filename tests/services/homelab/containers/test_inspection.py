"""What a container was made from is read from what the engine tells of it: then it can be adopted as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dockerd import BUSYBOX, Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import creation, inspection
from services.homelab.containers.differences import differing
from services.homelab.drivers.base import Engine, Json

pytestmark = pytest.mark.host

EVERYTHING: list[dict[str, Any]] = [
    {},
    {"entrypoint": ["/bin/sh", "-c"], "command": ["sleep 9"]},
    {"environment": {"A": "1", "B": "x=y\nz"}, "labels": {"who": "me"}},
    {
        "ports": [
            {"container": 80, "host": 8080},
            {"container": 53, "protocol": "udp", "address": "127.0.0.1"},
        ],
        "networks": [{"network": "inner"}],
    },
    {"restart": {"condition": "RESTART_CONDITION_ON_FAILURE", "maximumRetries": 3}},
    {"restart": {"condition": "RESTART_CONDITION_UNLESS_STOPPED"}},
    {
        "healthCheck": {
            "command": ["true"],
            "interval": 30000,
            "timeout": 5000,
            "retries": 2,
            "startPeriod": 1000,
        }
    },
    {"healthCheck": {"command": ["test", "-e", "/"]}},
    {"healthCheck": {"command": ["/bin/true"], "noShell": True}},
    {"healthCheck": {"command": ["true && true"]}},
    {"healthCheck": {"disabled": True}},
    {
        "limits": {
            "memory": "67108864",
            "cpuMillis": 500,
            "cpuShares": 512,
            "pids": 50,
            "memoryReservation": "33554432",
        }
    },
    {"limits": {"cpuset": "0"}},
    {"user": "1000:1000", "groups": ["5"], "workingDir": "/tmp", "hostname": "inside"},
    {"readOnly": True, "tmpfs": {"/run": "size=1m"}, "init": True, "tty": True, "stdinOpen": True},
    {"capAdd": ["NET_ADMIN"], "capDrop": ["MKNOD"], "securityOptions": ["no-new-privileges"]},
    {"privileged": True},
    {"devices": ["/dev/null:/dev/none:rw", "/dev/zero"], "ulimits": {"nofile": "10:20", "nproc": "5"}},
    {"sysctls": {"net.ipv4.ip_forward": "0"}, "extraHosts": ["db:10.0.0.1"], "dns": ["10.0.0.2"]},
    {"stopSignal": "SIGINT", "stopGrace": 3, "shmSize": "1048576", "ipcMode": "private", "pidMode": "host"},
    {"logging": {"driver": "json-file", "options": {"max-size": "1m"}}},
    {"mounts": [{"target": "/data", "source": "some-data", "readOnly": True}, {"target": "/own"}]},
    {
        "networks": [
            {"network": "inner", "aliases": ["www"]},
            {"network": "outer", "ipv4Address": "10.78.2.9"},
        ]
    },
    {"networkMode": "host"},
]


@pytest.fixture
def networks(daemon: Dockerd) -> Iterator[None]:
    daemon.docker("network", "create", "--subnet", "10.78.1.0/24", "inner")
    daemon.docker("network", "create", "--subnet", "10.78.2.0/24", "outer")
    yield
    daemon.docker("network", "prune", "--force")
    daemon.docker("volume", "rm", "--force", "some-data")


@pytest.mark.parametrize("ours", [True, False], ids=["made here", "made by others"])
@pytest.mark.parametrize("fields", EVERYTHING, ids=lambda fields: ",".join(fields) or "plain")
def test_it_is_what_it_was_made_from(
    engine: Engine, made: Callable[..., pb.Container], networks: None, fields: dict[str, Any], ours: bool
) -> None:
    spec = made(**fields, running=False)
    assert not differing(spec, _told(engine, spec, ours))


def test_a_folder_of_the_host(engine: Engine, made: Callable[..., pb.Container], tmp_path: Path) -> None:
    mount = {"target": "/a", "source": str(tmp_path), "type": "MOUNT_TYPE_BIND", "propagation": "rslave"}
    spec = made(mounts=[mount], running=False)
    for ours in (True, False):
        assert not differing(spec, _told(engine, spec, ours))


def test_what_the_docker_command_made(
    engine: Engine, daemon: Dockerd, made: Callable[..., pb.Container]
) -> None:
    options = ("--env", "A=1", "--volume", "/tmp:/host:ro", "--restart", "always", "--network", "none")
    daemon.docker("create", "--name", "web", *options, BUSYBOX, "sleep", "5")
    found = engine.containers.inspect("web")
    assert found is not None
    seen = inspection.spec(found, engine.images.inspect(str(found["Image"])))
    engine.containers.remove("web", force=True)
    spec = made(
        command=["sleep", "5"],
        environment={"A": "1"},
        mounts=[{"target": "/host", "source": "/tmp", "type": "MOUNT_TYPE_BIND", "readOnly": True}],
        restart={"condition": "RESTART_CONDITION_ALWAYS"},
        running=False,
    )
    spec.ClearField("stop_grace")
    assert not differing(spec, seen)


def _told(engine: Engine, spec: pb.Container, ours: bool) -> pb.Container:
    body = creation.body("web", spec)
    if not ours:
        body["Labels"] = dict(spec.labels)
    engine.containers.create("web", body)
    try:
        for attachment in spec.networks[1:]:
            engine.containers.connect(attachment.network, "web", creation.endpoint(attachment))
        found: Json | None = engine.containers.inspect("web")
        assert found is not None
        return inspection.spec(found, engine.images.inspect(str(found["Image"])))
    finally:
        engine.containers.remove("web", force=True, volumes=True)
