"""What every engine must do the same way: dockerd and podman, both for real, and the one in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import AlreadyExists, ControlError, InvalidRequest, NotFound
from daemons import until
from dockerd import BUSYBOX, Dockerd, busybox_rootfs
from podmand import podmand
from services.homelab.drivers.base import EXEC, Engine, EngineEvent, Gap
from services.homelab.drivers.docker import DockerEngine
from services.homelab.drivers.memory import MemoryEngine

pytestmark = pytest.mark.host

LOUD = "echo out; echo bad >&2; printf end"


def silent(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


@pytest.fixture(scope="module")
def podman(require: Any) -> Iterator[str]:
    require(binary="podman", root=True)
    require(binary="runc")
    with podmand() as address:
        yield address


@pytest.fixture(params=["docker", "podman", "memory"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made: Engine
    if request.param == "docker":
        daemon: Dockerd = request.getfixturevalue("daemon")
        made = DockerEngine(daemon.address)
    elif request.param == "memory":
        made = MemoryEngine()
        made.containers.broken.add("/absent")
    else:
        made = DockerEngine(request.getfixturevalue("podman"))
    if made.images.inspect(BUSYBOX) is None:
        (tmp_path / "root.tar").write_bytes(busybox_rootfs())
        made.images.import_rootfs(tmp_path / "root.tar", BUSYBOX, ["sleep", "infinity"], silent)
    yield made
    for row in made.containers.list():
        made.containers.remove(row["Id"], force=True, volumes=True)
    made.close()


@pytest.fixture
def programs(engine: Engine) -> Engine:
    """One that runs what its containers are told to run."""
    if EXEC not in engine.capabilities:
        pytest.skip("nothing runs in an engine in memory: capability exec")
    return engine


def alone(**fields: Any) -> dict[str, Any]:
    """A container in no network: what every machine can run."""
    host = {"NetworkMode": "none", **fields.pop("HostConfig", {})}
    return {"Image": BUSYBOX, "StopSignal": "SIGKILL", **fields, "HostConfig": host}


def test_what_it_is(engine: Engine, request: pytest.FixtureRequest) -> None:
    info = engine.info()
    assert engine.error() == ""
    assert engine.name == info.name == request.node.callspec.params["engine"]
    assert info.version.count(".") == 2
    assert info.address.startswith(("unix://", "memory:"))
    assert info.cgroup_version in ("1", "2")


def test_the_life_of_a_container(engine: Engine) -> None:
    containers = engine.containers
    containers.create("web", alone())
    with pytest.raises(AlreadyExists):
        containers.create("web", alone())
    containers.start("web")
    containers.start("web")
    containers.rename("web", "www")
    found = containers.inspect("www")
    assert found is not None
    assert found["State"]["Running"] is True
    assert containers.inspect("web") is None
    containers.restart("www", 0)
    containers.stop("www", 0)
    containers.stop("www")
    assert [row["State"] for row in containers.list()] == ["exited"]
    containers.remove("www")
    containers.remove("www")
    assert containers.list() == []


def test_names_that_are_none(engine: Engine) -> None:
    for call in (
        lambda: engine.containers.start("absent"),
        lambda: engine.containers.stop("absent"),
        lambda: engine.containers.kill("absent"),
        lambda: engine.containers.rename("absent", "other"),
        lambda: engine.containers.exec("absent", ["true"]),
        lambda: list(engine.containers.logs("absent")),
    ):
        with pytest.raises(NotFound):
            call()
    assert engine.containers.inspect("absent") is None
    assert engine.networks.inspect("absent") is None
    assert engine.volumes.inspect("absent") is None
    assert engine.images.inspect("absent:1") is None


def test_networks_and_volumes(engine: Engine) -> None:
    engine.networks.create("inner", {"Driver": "bridge", "Internal": True, "Labels": {"a": "b"}})
    engine.volumes.create("data", {"Labels": {"a": "b"}})
    with pytest.raises(AlreadyExists):
        engine.networks.create("inner", {"Driver": "bridge"})
    network, volume = engine.networks.inspect("inner"), engine.volumes.inspect("data")
    assert network is not None
    assert volume is not None
    assert (network["Internal"], network["Labels"], volume["Labels"]) == (True, {"a": "b"}, {"a": "b"})
    assert "inner" in [row["Name"] for row in engine.networks.list()]
    assert [row["Name"] for row in engine.volumes.list()] == ["data"]
    engine.containers.create("web", alone(HostConfig={"Binds": ["data:/data"]}))
    with pytest.raises(ControlError):
        engine.volumes.remove("data")
    engine.containers.remove("web", force=True)
    for _ in range(2):
        engine.networks.remove("inner")
        engine.volumes.remove("data")
    assert engine.networks.inspect("inner") is engine.volumes.inspect("data") is None


def test_output_by_stream(programs: Engine) -> None:
    programs.containers.create("loud", alone(Cmd=["sh", "-c", LOUD]))
    programs.containers.start("loud")
    until(lambda: (programs.containers.inspect("loud") or {})["State"]["Status"] == "exited")
    found = sorted((line.stderr, line.line) for line in programs.containers.logs("loud"))
    assert found == [(False, b"end"), (False, b"out"), (True, b"bad")]
    assert len(list(programs.containers.logs("loud", tail=1))) == 1


def test_output_is_followed_until_nobody_wants_it(programs: Engine) -> None:
    programs.containers.create("calm", alone(Cmd=["sh", "-c", "echo one; sleep 1000"]))
    programs.containers.start("calm")
    stop = threading.Event()
    lines = programs.containers.logs("calm", follow=True, stop=stop)
    assert next(lines).line == b"one"
    threading.Timer(0.2, stop.set).start()
    assert list(lines) == []


def test_a_program_in_it(programs: Engine) -> None:
    programs.containers.create("web", alone())
    programs.containers.start("web")
    session = programs.containers.exec("web", ["sh", "-c", "cat; echo bad >&2; exit 3"])
    data = bytes(range(256)) * 40
    session.write(data)
    session.end_input()
    parts: dict[int, bytes] = {1: b"", 2: b""}
    while (output := session.read()) is not None:
        parts[output[0]] += output[1]
    assert (parts[1], parts[2], session.exit_code()) == (data, b"bad\n", 3)
    session.close()
    assert "sleep infinity" in str(programs.containers.top("web")["Processes"])
    assert programs.containers.stats("web")["pids_stats"]["current"] >= 1


@pytest.mark.parametrize(
    ("body", "error"),
    [({"Image": "absent:1"}, NotFound), ({"Cmd": ["/absent"]}, (InvalidRequest, ControlError))],
)
def test_what_can_not_run(
    engine: Engine, body: dict[str, Any], error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    with pytest.raises(error) as raised:
        engine.containers.create("bad", alone(**body))
        engine.containers.start("bad")
    assert isinstance(raised.value, ControlError)
    assert raised.value.next_step


def test_events(engine: Engine) -> None:
    seen: list[EngineEvent | Gap] = []
    cancel = engine.subscribe(seen.append)
    assert engine.watching()
    engine.containers.create("web", alone())
    engine.containers.start("web")
    engine.containers.kill("web")

    def actions() -> set[str]:
        return {e.action for e in seen if isinstance(e, EngineEvent) and e.name == "web"}

    until(lambda: {"create", "start", "die"} <= actions() or {"create", "start", "died"} <= actions())
    cancel()


def test_held_and_let_go(engine: Engine) -> None:
    engine.containers.create("web", alone())
    with pytest.raises(ControlError):
        engine.containers.pause("web")
    engine.containers.start("web")
    for call, held in ((engine.containers.pause, True), (engine.containers.unpause, False)):
        for _ in range(2):
            call("web")
            assert (engine.containers.inspect("web") or {})["State"]["Paused"] is held


def test_it_joins_networks_and_leaves_them(engine: Engine) -> None:
    for name in ("inner", "outer"):
        engine.networks.create(name, {"Driver": "bridge", "Internal": True})
    body = alone(HostConfig={"NetworkMode": "inner"})
    engine.containers.create("web", {**body, "NetworkingConfig": {"EndpointsConfig": {"inner": {}}}})
    engine.containers.connect("outer", "web", {"Aliases": ["www"]})

    def joined() -> list[str]:
        found = engine.containers.inspect("web")
        assert found is not None
        return sorted(found["NetworkSettings"]["Networks"])

    assert joined() == ["inner", "outer"]
    for _ in range(2):
        engine.containers.disconnect("outer", "web")
    assert joined() == ["inner"]
    engine.containers.remove("web", force=True)
    for name in ("inner", "outer"):
        engine.networks.remove(name)


def test_names_of_images(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "other.tar").write_bytes(busybox_rootfs())
    engine.images.import_rootfs(tmp_path / "other.tar", "localhost/made:1", ["sleep", "1"], silent)
    made = engine.images.inspect("localhost/made:1")
    assert made is not None
    engine.images.tag(str(made["Id"]), "localhost/made:2")
    with pytest.raises(NotFound):
        engine.images.tag("localhost/absent:1", "localhost/made:3")
    assert (engine.images.inspect("localhost/made:2") or {})["Id"] == made["Id"]
    engine.images.remove("localhost/made:1")
    engine.containers.create("web", alone(Image="localhost/made:2"))
    with pytest.raises(ControlError):
        engine.images.remove("localhost/made:2")
    engine.containers.remove("web", force=True)
    for _ in range(2):
        engine.images.remove("localhost/made:2")
    assert engine.images.inspect("localhost/made:2") is None
    assert made["Id"] not in [row["Id"] for row in engine.images.list()]


def test_what_it_can_not_load(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        engine.images.load(tmp_path / "absent.tar", silent)
    with pytest.raises(NotFound):
        engine.images.import_rootfs(tmp_path / "absent.tar", "localhost/made:1", [], silent)


def test_what_it_uses(engine: Engine) -> None:
    engine.containers.create("web", alone())
    engine.containers.start("web")
    assert engine.containers.stats("web")["pids_stats"]["current"] >= 1
    told = engine.containers.top("web")
    assert "sleep infinity" in str(told["Processes"])
    assert len(told["Titles"]) == len(told["Processes"][0])
    assert {"Images", "Containers", "Volumes"} <= engine.disk_usage().keys()
