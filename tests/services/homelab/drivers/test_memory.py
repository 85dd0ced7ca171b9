"""The engine in memory is good enough for the kinds: what is declared comes about in it, and is healed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from common.errors import InvalidRequest, NotFound, Unsupported, WrongState
from common.manager import Action, Change
from daemons import daemon
from nixcc.homelab.v1 import container_pb2, stack_pb2
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import normalise
from services.homelab.drivers.base import EngineEvent, Gap
from services.homelab.drivers.memory import MemoryEngine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.kinds.stack import StackKind


def quiet(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def engine() -> MemoryEngine:
    made = MemoryEngine()
    made.images.add("app:1", {"Cmd": ["serve"], "Env": ["PATH=/bin"]})
    return made


@pytest.fixture
def keeper(engine: MemoryEngine, tmp_path: Path) -> ContainerKeeper:
    return ContainerKeeper(engine, Inventory(engine), Materials(), UpdateRecords(tmp_path / "updates.json"))


def spec(**fields: object) -> container_pb2.Container:
    found = json_format.ParseDict({"image": "app:1", "running": True, **fields}, container_pb2.Container())
    normalise(found)
    return found


def test_a_container_lives_and_is_healed(engine: MemoryEngine, keeper: ContainerKeeper) -> None:
    web = spec(environment={"A": "1"}, mounts=[{"target": "/data", "source": "data"}])
    assert keeper.apply("web", web, quiet).message == "web: made and started"
    assert keeper.apply("web", web, quiet).message == "web: was so already"
    engine.containers.kill("web")
    assert "started again" in keeper.apply("web", web, quiet).message
    engine.containers.remove("web", force=True)
    assert "made" in keeper.apply("web", web, quiet).message
    with pytest.raises(WrongState, match="is used by web"):
        engine.volumes.remove("data")
    assert "replaced" in keeper.apply("web", spec(environment={"A": "2"}), quiet).message
    assert "removed" in keeper.remove("web").message


def test_what_ends_at_once_goes_back(engine: MemoryEngine, keeper: ContainerKeeper) -> None:
    keeper.apply("web", spec(), quiet)
    engine.containers.broken.add("nothing")
    with pytest.raises(WrongState, match="the old one runs"):
        keeper.apply("web", spec(command=["nothing"]), quiet)
    assert (engine.containers.inspect("web") or {})["State"]["Running"]


def test_restart_policies(engine: MemoryEngine) -> None:
    for name, policy in (("always", "always"), ("no", "no"), ("failed", "on-failure")):
        engine.containers.create(name, {"Image": "app:1", "HostConfig": {"RestartPolicy": {"Name": policy}}})
        engine.containers.start(name)
        engine.containers.end(name, 3, "no luck\nat all")
    states = {name: engine.containers.inspect(name) or {} for name in ("always", "no", "failed")}
    assert {name: row["State"]["Running"] for name, row in states.items()} == {
        "always": True,
        "no": False,
        "failed": True,
    }
    assert states["always"]["RestartCount"] == 1
    assert [line.line for line in engine.containers.logs("no", tail=1)] == [b"at all"]


def test_health_is_told(engine: MemoryEngine, keeper: ContainerKeeper) -> None:
    web = spec(healthCheck={"command": ["true"]})
    keeper.apply("web", web, quiet)
    told: list[EngineEvent | Gap] = []
    engine.subscribe(told.append)
    engine.containers.set_health("web", "unhealthy", "no database")
    assert keeper.detect(["web"])["web"].unhealthy == "its health check fails: no database"  # type: ignore[union-attr]
    assert [event.action for event in told if isinstance(event, EngineEvent)] == ["health_status: unhealthy"]


def test_ports_and_programs(engine: MemoryEngine) -> None:
    bound = {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}
    for name in ("a", "b"):
        engine.containers.create(name, {"Image": "app:1", "HostConfig": bound})
    engine.containers.start("a")
    with pytest.raises(WrongState, match="port 8080 is taken"):
        engine.containers.start("b")
    engine.images.add("empty:1", {})
    engine.containers.create("c", {"Image": "empty:1"})
    with pytest.raises(InvalidRequest, match="no program"):
        engine.containers.start("c")
    with pytest.raises(Unsupported, match="use docker or podman"):
        engine.containers.exec("a", ["true"])
    with pytest.raises(NotFound, match="no network"):
        engine.containers.create("d", {"Image": "app:1", "HostConfig": {"NetworkMode": "absent"}})


def test_a_stack(engine: MemoryEngine, tmp_path: Path) -> None:
    kind = StackKind(engine, Materials(), UpdateRecords(tmp_path / "updates.json"))
    stack = stack_pb2.Stack(
        compose=json.dumps(
            {
                "services": {
                    "web": {"image": "app:1", "depends_on": ["db"]},
                    "db": {"image": "app:1", "volumes": ["d:/d"]},
                },
                "volumes": {"d": {}},
            }
        )
    )
    assert kind.validate("shop", stack) == []
    kind.apply(Change("shop", Action.UPDATE, stack, None), quiet)
    assert [row["Names"] for row in engine.containers.list()] == [["/shop-db-1"], ["/shop-web-1"]]
    assert not kind.apply(Change("shop", Action.UPDATE, stack, None), quiet).changed
    kind.apply(Change("shop", Action.DELETE, None, None), quiet)
    assert engine.containers.list() == []
    assert engine.networks.inspect("shop_default") is None
    assert [row["Name"] for row in engine.volumes.list()] == ["shop_d"]


def test_the_whole_control_center_without_an_engine(tmp_path: Path) -> None:
    with daemon(tmp_path, env={"NCC_HOMELAB_ENGINE": "memory:"}, services=("homelab",)) as started:
        (tmp_path / "app.tar").write_bytes(b"")
        started.apply(
            {"kind": "ContainerNetwork", "metadata": {"name": "inner"}, "spec": {}},
            {"kind": "ContainerVolume", "metadata": {"name": "data"}, "spec": {}},
        )
        assert started.ready("ContainerNetwork", "inner")[0] == "True"
        assert "memory" in started.out("homelab", "engine")
