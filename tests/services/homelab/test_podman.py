"""Containers and stacks on a real podman: brought about, left alone where they are equal, healed, replaced, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from common.errors import WrongState
from common.manager import Action, Applied, Change
from daemons import until
from dockerd import BUSYBOX, busybox_rootfs
from nixcc.homelab.v1 import container_pb2, stack_pb2
from podmand import podmand
from services.homelab.containers.differences import differing
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import check, normalise
from services.homelab.drivers.docker import DockerEngine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds.stack import StackKind

pytestmark = pytest.mark.host
SLEEP = ["sh", "-c", "trap exit TERM; sleep infinity & wait"]


def quiet(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def podman(require: Any) -> Iterator[str]:
    require(binary="podman", root=True)
    require(binary="runc")
    with podmand() as address:
        yield address


@pytest.fixture
def engine(podman: str, tmp_path: Path) -> Iterator[DockerEngine]:
    made = DockerEngine(podman)
    if made.images.inspect(BUSYBOX) is None:
        (tmp_path / "root.tar").write_bytes(busybox_rootfs())
        made.images.import_rootfs(tmp_path / "root.tar", BUSYBOX, ["sleep", "infinity"], quiet)
    yield made
    for row in made.containers.list():
        made.containers.remove(row["Id"], force=True, volumes=True)
    for row in made.volumes.list():
        made.volumes.remove(str(row["Name"]))
    made.close()


@pytest.fixture
def keeper(engine: DockerEngine, tmp_path: Path) -> Iterator[ContainerKeeper]:
    inventory = Inventory(engine)
    inventory.watch()
    yield ContainerKeeper(engine, inventory, Materials(), UpdateRecords(tmp_path / "updates.json"))
    inventory.close()


def spec(**fields: Any) -> container_pb2.Container:
    whole = {
        "image": BUSYBOX,
        "command": SLEEP,
        "running": True,
        "stopGrace": 1,
        "networkMode": "none",
        **fields,
    }
    found = json_format.ParseDict(whole, container_pb2.Container())
    assert not check("web", found)
    normalise(found)
    return found


def differences(keeper: ContainerKeeper, wanted: container_pb2.Container) -> frozenset[str]:
    seen = keeper.detect(["web"])["web"]
    return frozenset({"absent"}) if seen is None else differing(wanted, seen.spec)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"environment": {"A": "1"}, "labels": {"l": "1"}, "user": "1000:1000", "workingDir": "/tmp"},
        {"mounts": [{"target": "/data", "source": "data"}, {"target": "/own"}], "tmpfs": {"/run": "size=1m"}},
        {
            "readOnly": True,
            "capAdd": ["NET_ADMIN"],
            "capDrop": ["CHOWN"],
            "securityOptions": ["no-new-privileges"],
        },
        {"hostname": "web", "init": False, "tty": True, "stopSignal": "SIGINT", "shmSize": "33554432"},
        {
            "ulimits": {"nofile": "512:1024", "nproc": "512"},
            "restart": {"condition": "RESTART_CONDITION_ALWAYS"},
        },
    ],
    ids=lambda fields: " ".join(fields) or "plain",
)
def test_what_was_made_is_as_it_was_asked_for(keeper: ContainerKeeper, fields: dict[str, Any]) -> None:
    wanted = spec(**fields)
    assert keeper.apply("web", wanted, quiet).changed
    assert differences(keeper, wanted) == frozenset()
    assert keeper.apply("web", wanted, quiet).message == "web: was so already"


def test_it_is_healed(keeper: ContainerKeeper, engine: DockerEngine) -> None:
    wanted = spec()
    keeper.apply("web", wanted, quiet)
    engine.containers.kill("web")
    until(lambda: differences(keeper, wanted) == {"running"})
    keeper.apply("web", wanted, quiet)
    assert differences(keeper, wanted) == frozenset()
    engine.containers.remove("web", force=True)
    until(lambda: differences(keeper, wanted) == {"absent"})
    keeper.apply("web", wanted, quiet)
    engine.containers.rename("web", "other")
    until(lambda: differences(keeper, wanted) == {"absent"})
    assert "took its name back" in keeper.apply("web", wanted, quiet).message
    assert differences(keeper, wanted) == frozenset()


def test_a_new_one_takes_over_only_when_it_is_well(keeper: ContainerKeeper, engine: DockerEngine) -> None:
    wanted = spec()
    keeper.apply("web", wanted, quiet)
    with pytest.raises(WrongState, match=r"web was not replaced, the old one runs: .*exit code 3.*no luck"):
        keeper.apply("web", spec(command=["sh", "-c", "echo no luck; exit 3"]), quiet)
    assert differences(keeper, wanted) == frozenset()
    assert "replaced" in keeper.apply("web", spec(environment={"A": "2"}), quiet).message
    assert [row["Names"] for row in engine.containers.list()] == [["/web"]]
    assert keeper.remove("web").changed


def test_a_stack(engine: DockerEngine, tmp_path: Path) -> None:
    kind = StackKind(engine, Materials(), UpdateRecords(tmp_path / "updates.json"))
    service = {"image": BUSYBOX, "command": SLEEP, "network_mode": "none", "stop_grace_period": "1s"}
    services = {"web": {**service, "depends_on": ["db"]}, "db": {**service, "volumes": ["data:/data"]}}
    stack = stack_pb2.Stack(compose=json.dumps({"services": services, "volumes": {"data": {}}}))
    assert kind.validate("shop", stack) == []

    def apply(wanted: stack_pb2.Stack | None) -> Applied:
        action = Action.DELETE if wanted is None else Action.UPDATE
        return kind.apply(Change("shop", action, wanted, None), quiet)

    assert apply(stack).changed
    assert apply(stack).message == "was so already"
    seen = kind.detect(["shop"])["shop"]
    assert seen is not None
    assert differing(stack, seen.spec) == frozenset()  # type: ignore[union-attr]
    engine.containers.kill("shop-web-1")
    assert "shop-web-1" in apply(stack).message
    apply(None)
    assert engine.containers.list() == []
    assert [row["Name"] for row in engine.volumes.list()] == ["shop_data"]
