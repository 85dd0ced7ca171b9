"""One container takes another's place, killed anywhere or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common import failpoints
from common.errors import ControlError, HostUnavailable, WrongState
from dockerd import Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import replacement, spec_label
from services.homelab.containers.differences import differing
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.drivers.base import Engine

pytestmark = pytest.mark.host
Made = Callable[..., pb.Container]
Apply = Callable[[str, pb.Container], Any]

KILLED = """
import sys
from pathlib import Path
from services.homelab.containers import spec_label
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.drivers.docker import DockerEngine
from services.homelab.image_updates.records import UpdateRecords
engine = DockerEngine(sys.argv[1])
spec = spec_label.read({spec_label.SPEC: sys.argv[2]})
updates = UpdateRecords(Path(sys.argv[3]))
ContainerKeeper(engine, Inventory(engine), Materials(), updates).apply("web", spec, lambda message, percent: None)
"""


def names(engine: Engine) -> list[str]:
    return sorted(name.removeprefix("/") for row in engine.containers.list() for name in row["Names"])


def identifier(engine: Engine) -> str:
    return str((engine.containers.inspect("web") or {})["Id"])


def test_the_new_one_is_well_before_the_old_one_goes(apply: Apply, made: Made, engine: Engine) -> None:
    apply("web", made())
    first = identifier(engine)
    assert "before the old one went" in apply("web", made(environment={"A": "1"})).message
    assert identifier(engine) != first
    assert names(engine) == ["web"]


@pytest.mark.parametrize(
    "before",
    [
        {"networks": [{"network": "inner"}], "ports": [{"container": 80, "host": 8099}]},
        {"mounts": [{"target": "/data", "source": "kept"}]},
        {"networkMode": "host"},
    ],
    ids=["a port", "data", "the host's network"],
)
def test_where_both_can_not_run_the_old_one_stops_first_and_comes_back(
    apply: Apply, made: Made, engine: Engine, daemon: Dockerd, before: dict[str, Any]
) -> None:
    daemon.docker("network", "create", "--subnet", "10.79.1.0/24", "inner")
    apply("web", made(**before))
    first = identifier(engine)
    with pytest.raises(WrongState, match=r"web was not replaced, the old one runs: .*exit code 3.*no luck"):
        apply("web", made(**before, command=["sh", "-c", "echo no luck; exit 3"]))
    found = engine.containers.inspect("web")
    assert found is not None
    assert (found["Id"], found["State"]["Running"], names(engine)) == (first, True, ["web"])
    assert apply("web", made(**before, environment={"A": "1"})).message == "web: replaced"
    assert identifier(engine) != first
    assert names(engine) == ["web"]
    apply("web", made(running=False))
    engine.containers.remove("web", force=True)
    daemon.docker("volume", "rm", "--force", "kept")


def test_data_without_a_name_moves_along(apply: Apply, made: Made, daemon: Dockerd) -> None:
    mounts = [{"target": "/data"}]
    apply("web", made(mounts=mounts))
    daemon.docker("exec", "web", "sh", "-c", "echo precious > /data/file")
    apply("web", made(mounts=mounts, environment={"A": "1"}))
    assert daemon.docker("exec", "web", "cat", "/data/file").stdout == "precious\n"


def test_one_that_shall_not_run_is_replaced_without_a_start(apply: Apply, made: Made, engine: Engine) -> None:
    apply("web", made())
    apply("web", made(running=False, environment={"A": "1"}))
    found = engine.containers.inspect("web")
    assert found is not None
    assert found["State"]["Status"] == "created"
    assert names(engine) == ["web"]


def test_an_unhealthy_one_does_not_take_over(apply: Apply, made: Made, engine: Engine) -> None:
    apply("web", made())
    first = identifier(engine)
    check = {"command": ["false"], "interval": 50, "retries": 1}
    with pytest.raises(WrongState, match="the old one runs: the container web is unhealthy"):
        apply("web", made(healthCheck=check))
    assert identifier(engine) == first


@pytest.mark.parametrize(
    ("point", "clash"),
    [
        *((point, True) for point in ("new_created", "old_stopped", "old_renamed", "new_renamed")),
        *((point, False) for point in ("new_created", "old_renamed", "new_renamed")),
    ],
)
def test_killed_anywhere(
    keeper: ContainerKeeper,
    apply: Apply,
    made: Made,
    engine: Engine,
    daemon: Dockerd,
    point: str,
    clash: bool,
    tmp_path: Path,
) -> None:
    before: dict[str, Any] = {"mounts": [{"target": "/data", "source": "kept"}]} if clash else {}
    apply("web", made(**before))
    wanted = made(**before, environment={"A": "1"})
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED,
            daemon.address,
            spec_label.written(wanted),
            str(tmp_path / "updates.json"),
        ],
        env={**os.environ, failpoints.ENVIRONMENT: f"homelab.{point}=kill:1"},
        cwd=Path(__file__).resolve().parents[4],
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    found = keeper.detect(["web"])["web"]
    assert found is None or differing(wanted, found.spec), "a step is due"  # type: ignore[union-attr]
    apply("web", wanted)
    assert names(engine) == ["web"]
    now = engine.containers.inspect("web")
    assert now is not None
    assert now["State"]["Running"]
    assert "A=1" in now["Config"]["Env"]
    found = keeper.detect(["web"])["web"]
    assert not differing(wanted, found.spec)  # type: ignore[union-attr]
    engine.containers.remove("web", force=True)
    daemon.docker("volume", "rm", "--force", "kept")


def test_killed_while_the_old_one_is_stopped_and_the_new_one_is_no_good(
    apply: Apply, made: Made, engine: Engine, daemon: Dockerd, tmp_path: Path
) -> None:
    data: dict[str, Any] = {"mounts": [{"target": "/data", "source": "kept"}]}
    apply("web", made(**data))
    first = identifier(engine)
    wanted = made(**data, command=["sh", "-c", "echo no luck; exit 3"])
    label = spec_label.written(wanted)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, daemon.address, label, str(tmp_path / "updates.json")],
        env={**os.environ, failpoints.ENVIRONMENT: "homelab.old_stopped=kill:1"},
        cwd=Path(__file__).resolve().parents[4],
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(WrongState, match="the old one runs"):
        apply("web", wanted)
    found = engine.containers.inspect("web")
    assert found is not None
    assert (found["Id"], found["State"]["Running"], names(engine)) == (first, True, ["web"])
    engine.containers.remove("web", force=True)
    daemon.docker("volume", "rm", "--force", "kept")


def test_one_that_was_stopped_before_is_not_started_by_a_replacement_that_was_cut_off(
    made: Made, apply: Apply, engine: Engine, daemon: Dockerd
) -> None:
    apply("web", made())
    apply("web", made(running=False))
    daemon.docker("create", "--name", "web.nixcc-new", "--network", "none", "busybox:1")
    assert replacement.recover(engine, "web") == "ended an earlier replacement"
    found = engine.containers.inspect("web")
    assert found is not None
    assert (found["State"]["Running"], names(engine)) == (False, ["web"])


class Faulty:
    """Containers of an engine, some of whose starts fail."""

    def __init__(self, containers: Any, faults: dict[str, list[ControlError]]) -> None:
        self._containers = containers
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._containers, name)

    def start(self, name: str) -> None:
        if self._faults.get(name):
            raise self._faults[name].pop(0)
        self._containers.start(name)


def test_an_engine_that_ends_in_the_middle(
    apply: Apply, made: Made, engine: Engine, daemon: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: dict[str, Any] = {"mounts": [{"target": "/data", "source": "kept"}]}
    apply("web", made(**data))
    first = identifier(engine)
    faults: dict[str, list[ControlError]] = {
        "web.nixcc-new": [HostUnavailable("gone")],
        "web": [ControlError("it shuts down")],
    }
    monkeypatch.setattr(engine, "containers", Faulty(engine.containers, faults))
    wanted = made(**data, environment={"A": "1"})
    with pytest.raises(ControlError, match="it shuts down"):
        apply("web", wanted)
    assert names(engine) == ["web", "web.nixcc-new"], "who looks next knows that the old one is to run"
    assert "ended an earlier replacement" in apply("web", wanted).message
    assert identifier(engine) != first

    faults["web.nixcc-new"] = [HostUnavailable("gone")]
    with pytest.raises(HostUnavailable, match="the old one runs: gone"):
        apply("web", made(**data))
    found = engine.containers.inspect("web")
    assert found is not None
    assert (found["State"]["Running"], names(engine)) == (True, ["web"])
    engine.containers.remove("web", force=True)
    daemon.docker("volume", "rm", "--force", "kept")


def test_one_that_runs_is_not_stopped_again_for_what_was_no_good(
    apply: Apply, made: Made, engine: Engine, daemon: Dockerd
) -> None:
    data: dict[str, Any] = {"mounts": [{"target": "/data", "source": "kept"}]}
    apply("web", made(**data))
    bad = made(**data, command=["sh", "-c", "echo no luck; exit 3"])

    def since() -> str:
        return str((engine.containers.inspect("web") or {})["State"]["StartedAt"])

    with pytest.raises(WrongState, match="no luck"):
        apply("web", bad)
    before = since()
    with pytest.raises(WrongState, match="no luck") as raised:
        apply("web", bad)
    assert "tried again in" in raised.value.next_step
    assert since() == before
    engine.containers.restart("web")
    before = since()
    with pytest.raises(WrongState, match="no luck"):
        apply("web", bad)
    assert since() != before, "who restarts it wants a try"
    engine.containers.remove("web", force=True)
    daemon.docker("volume", "rm", "--force", "kept")
