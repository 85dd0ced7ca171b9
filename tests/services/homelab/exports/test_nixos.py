"""The options say what `docker run` understands, and it makes the same container of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from google.protobuf import json_format

from dockerd import BUSYBOX, Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import inspection
from services.homelab.containers.differences import differing
from services.homelab.containers.normalisation import normalise
from services.homelab.drivers.base import Engine
from services.homelab.exports import nixos
from services.homelab.exports.exported import Exported

Made = Callable[..., pb.Container]


@pytest.fixture
def made() -> Made:
    def spec(**fields: Any) -> pb.Container:
        found = json_format.ParseDict({"image": BUSYBOX, **fields}, pb.Container())
        normalise(found)
        return found

    return spec


def arguments(name: str, options: dict[str, Any]) -> Sequence[str]:
    """As the module writes them for `docker run`."""
    found = [f"--name={name}", f"--log-driver={options.get('log-driver', 'journald')}"]
    if "entrypoint" in options:
        found.append(f"--entrypoint={options['entrypoint']}")
    for option, flag in (("hostname", "--hostname"), ("user", "-u"), ("workdir", "-w")):
        if option in options:
            found += [flag, options[option]]
    for option, flag in (("environment", "-e"), ("labels", "-l")):
        for key, value in options.get(option, {}).items():
            found += [flag, f"{key}={value}"]
    for option, flag in (("environmentFiles", "--env-file"), ("ports", "-p"), ("volumes", "-v")):
        for one in options.get(option, []):
            found += [flag, one]
    return [*found, *options.get("extraOptions", []), options["image"], *options.get("cmd", [])]


@pytest.fixture
def create(daemon: Dockerd) -> Iterator[Callable[..., None]]:
    yield lambda words: daemon.docker("create", *words) and None
    daemon.docker("rm", "--force", "--volumes", "web", check=False)
    daemon.docker("network", "prune", "--force")


@pytest.mark.host
@pytest.mark.parametrize(
    "fields",
    [
        {
            "command": ["sleep", "5"],
            "environment": {"A": "$x 'y\" z"},
            "labels": {"l": "1 2"},
            "networkMode": "none",
        },
        {"entrypoint": ["/bin/busybox", "sh"], "command": ["-c", "exit 0"], "networkMode": "none"},
        {
            "networks": [{"network": "inner", "aliases": ["db"], "ipv4Address": "10.79.3.9"}],
            "ports": [
                {"container": 80, "host": 8080, "address": "127.0.0.1"},
                {"container": 53, "host": 5353, "protocol": "udp"},
            ],
        },
        {
            "networkMode": "none",
            "mounts": [
                {"target": "/data", "source": "kept"},
                {"target": "/host", "source": "/etc", "type": "MOUNT_TYPE_BIND", "readOnly": True},
            ],
            "tmpfs": {"/run": "size=64m"},
        },
        {
            "networkMode": "none",
            "user": "1000:1000",
            "groups": ["5"],
            "readOnly": True,
            "capAdd": ["NET_ADMIN"],
            "capDrop": ["ALL"],
            "securityOptions": ["no-new-privileges"],
            "devices": ["/dev/null:/dev/nothing:rwm"],
            "hostname": "web",
            "extraHosts": ["db:10.0.0.2"],
            "dns": ["9.9.9.9"],
            "workingDir": "/tmp",
            "init": True,
            "tty": True,
            "stdinOpen": True,
            "stopSignal": "SIGINT",
            "stopGrace": 3,
            "shmSize": "67108864",
            "logging": {"driver": "json-file", "options": {"max-size": "10m"}},
            "ulimits": {"nofile": "1024:2048"},
            "limits": {"cpuMillis": 500, "memory": "67108864", "pids": 64, "cpuShares": 512},
        },
        {
            "networkMode": "none",
            "healthCheck": {"command": ["true || false"], "interval": 1500, "retries": 2},
        },
        {"networkMode": "none", "healthCheck": {"disabled": True}},
        {"networkMode": "host", "privileged": True, "pidMode": "host", "ipcMode": "private"},
    ],
    ids=lambda fields: " ".join(fields)[:40],
)
def test_the_same_container(
    fields: dict[str, Any], made: Made, create: Any, engine: Engine, daemon: Dockerd
) -> None:
    daemon.docker("network", "create", "--subnet", "10.79.3.0/24", "inner")
    spec = made(**fields)
    tree, notes = nixos.options([Exported("web", spec)])
    create(arguments("web", tree["virtualisation"]["oci-containers"]["containers"]["web"]))
    found = engine.containers.inspect("web")
    assert found is not None
    seen = inspection.spec(found, engine.images.inspect(BUSYBOX))
    normalise(seen)
    # The module takes one word as the program; the others go before the arguments.
    assert [*spec.entrypoint, *spec.command] == [*seen.entrypoint, *seen.command]
    for one in (spec, seen):
        del one.entrypoint[:], one.command[:]
    assert differing(spec, seen) == frozenset()
    assert notes == []


def test_what_the_module_has_no_words_for(made: Made) -> None:
    spec = made(
        restart={"condition": "RESTART_CONDITION_ALWAYS"},
        update="UPDATE_POLICY_AUTO",
        running=False,
        gpus={"driver": "nvidia", "ids": ["0"]},
        networks=[{"network": "a", "aliases": ["x"]}, {"network": "b"}],
    )
    tree, notes = nixos.options([Exported("web", spec)], "podman")
    assert {note.field for note in notes} == {"restart", "update", "gpus.driver", "networks"}
    found = tree["virtualisation"]["oci-containers"]
    assert found["backend"] == "podman"
    assert found["containers"]["web"]["autoStart"] is False
    assert '--gpus="device=0"' in found["containers"]["web"]["extraOptions"]
