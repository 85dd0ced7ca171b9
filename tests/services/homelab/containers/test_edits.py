"""Labels that tools copied to a container that is another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dockerd import Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.differences import differing
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.drivers.base import Engine, Json

pytestmark = pytest.mark.host
Made = Callable[..., pb.Container]


def copied(engine: Engine, change: Callable[[Json, Json], object]) -> None:
    """Made anew from what inspect tells, as tools do."""
    told = engine.containers.inspect("web") or {}
    config, host = told["Config"], told["HostConfig"]
    change(config, host)
    engine.containers.remove("web", force=True)
    engine.containers.create("web", {**config, "HostConfig": host})
    engine.containers.start("web")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("image", lambda config, host: config.update(Image="other:1")),
        ("environment", lambda config, host: config.update(Env=["A=2"])),
        ("command", lambda config, host: config.update(Cmd=["sleep", "1000"])),
        ("read_only", lambda config, host: host.update(ReadonlyRootfs=False)),
        ("user", lambda config, host: config.update(User="0")),
        ("cap_add", lambda config, host: host.update(CapAdd=["CHOWN", "NET_RAW"])),
        ("mounts", lambda config, host: host.update(Binds=["/etc:/host:ro"])),
        ("mounts", lambda config, host: host.update(Mounts=[])),
        (
            "ports",
            lambda config, host: host.update(PortBindings={"80/tcp": [{"HostIp": "", "HostPort": "8066"}]}),
        ),
    ],
)
def test_what_is_not_as_its_label_says_is_replaced(
    keeper: ContainerKeeper,
    apply: Callable[[str, pb.Container], Any],
    made: Made,
    engine: Engine,
    daemon: Dockerd,
    field: str,
    change: Callable[[Json, Json], object],
) -> None:
    daemon.docker("network", "create", "inner")
    daemon.docker("tag", "busybox:1", "other:1")
    spec = made(
        environment={"A": "1"},
        user="1000",
        readOnly=True,
        mounts=[{"target": "/data", "source": "kept"}, {"target": "/nameless"}],
        ports=[{"container": 80, "host": 8065}, {"container": 81}],
        networks=[{"network": "inner"}],
    )
    apply("web", spec)
    copied(engine, lambda config, host: None)
    found: Any = keeper.detect(["web"])["web"]
    assert not differing(spec, found.spec), "an equal copy is left alone"
    copied(engine, change)
    found = keeper.detect(["web"])["web"]
    assert differing(spec, found.spec) == {field}
    apply("web", spec)
    found = keeper.detect(["web"])["web"]
    assert not differing(spec, found.spec)
    engine.containers.remove("web", force=True, volumes=True)
    daemon.docker("rmi", "other:1")
    daemon.docker("volume", "rm", "--force", "kept")
