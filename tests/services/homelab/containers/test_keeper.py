"""Containers on a real dockerd: made, changed while they live, healed, adopted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import ControlError, NotFound, WrongState
from common.manager import Outlook
from daemons import until
from dockerd import BUSYBOX, Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.differences import differing
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.drivers.base import Engine

pytestmark = pytest.mark.host
Made = Callable[..., pb.Container]
Apply = Callable[[str, pb.Container], Any]


def seen(keeper: ContainerKeeper, name: str = "web") -> Any:
    found = keeper.detect([name])[name]
    if isinstance(found, ControlError):
        raise found
    return found


def identifier(engine: Engine, name: str = "web") -> str:
    return str((engine.containers.inspect(name) or {}).get("Id"))


def test_it_comes_to_be_and_stays_as_it_is(keeper: ContainerKeeper, apply: Apply, made: Made) -> None:
    spec = made(environment={"A": "1"}, limits={"memory": "67108864"})
    assert seen(keeper) is None
    assert apply("web", spec).changed
    assert not differing(spec, seen(keeper).spec)
    assert not apply("web", spec).changed
    assert keeper.names() == ["web"]
    assert keeper.remove("web").changed
    assert not keeper.remove("web").changed


@pytest.mark.parametrize(
    "fields",
    [
        {"limits": {"memory": "77108864", "cpuMillis": 300}},
        {"restart": {"condition": "RESTART_CONDITION_ON_FAILURE", "maximumRetries": 2}},
        {"running": False},
        {"networks": [{"network": "outer", "aliases": ["www"]}]},
        {"networks": [{"network": "inner", "aliases": ["www"]}, {"network": "outer"}]},
    ],
)
def test_what_changes_while_it_lives(
    keeper: ContainerKeeper, apply: Apply, made: Made, engine: Engine, daemon: Dockerd, fields: dict[str, Any]
) -> None:
    for name in ("inner", "outer"):
        daemon.docker("network", "create", "--internal", name)
    before = {"networks": [{"network": "inner"}], "limits": {"memory": "67108864"}}
    apply("web", made(**before))
    first = identifier(engine)
    spec = made(**{**before, **fields})
    assert apply("web", spec).changed
    assert not differing(spec, seen(keeper).spec)
    assert identifier(engine) == first
    keeper.remove("web")


def test_a_held_one_goes_on(keeper: ContainerKeeper, apply: Apply, made: Made, daemon: Dockerd) -> None:
    apply("web", made())
    daemon.docker("pause", "web")
    assert not seen(keeper).spec.running
    assert "goes on" in apply("web", made()).message
    assert seen(keeper).spec.running


def test_one_that_was_renamed_gets_its_name_back(
    apply: Apply, made: Made, daemon: Dockerd, engine: Engine
) -> None:
    apply("web", made())
    first = identifier(engine)
    daemon.docker("rename", "web", "other")
    assert "was called other" in apply("web", made()).message
    assert identifier(engine) == first
    assert engine.containers.inspect("other") is None


def test_one_that_is_being_removed_is_made_anew(
    keeper: ContainerKeeper, apply: Apply, made: Made, daemon: Dockerd
) -> None:
    for _ in range(5):
        apply("web", made())
        removal = threading.Thread(target=daemon.docker, args=("rm", "--force", "web"))
        daemon.docker("kill", "web")
        removal.start()
        apply("web", made())
        removal.join()
        # Either the removal came first, or it took the new one's predecessor's place: the next step heals.
        apply("web", made())
        assert seen(keeper).spec.running


def test_what_has_done_its_work_stays_ended(
    keeper: ContainerKeeper, apply: Apply, made: Made, daemon: Dockerd
) -> None:
    spec = made(command=["true"], restart={"condition": "RESTART_CONDITION_NO"})
    apply("web", spec)
    daemon.docker("wait", "web")
    assert not differing(spec, seen(keeper).spec)
    failing = made(command=["false"], restart={"condition": "RESTART_CONDITION_NO"})
    apply("bad", failing)
    daemon.docker("wait", "bad")
    assert differing(failing, seen(keeper, "bad").spec) == {"running"}


def test_one_that_ends_at_once_says_why(apply: Apply, made: Made, daemon: Dockerd) -> None:
    spec = made(command=["sh", "-c", "echo no disk; exit 3"])
    apply("web", spec)
    daemon.docker("wait", "web")
    with pytest.raises(ControlError, match="exit code 3; the last it said: no disk"):
        apply("web", spec)


def test_one_that_is_not_well_is_told(
    keeper: ContainerKeeper, apply: Apply, made: Made, daemon: Dockerd
) -> None:
    check = {"command": ["sh", "-c", "echo no database; exit 1"], "interval": 50, "retries": 1}
    apply("web", made(healthCheck=check))
    until(lambda: "no database" in seen(keeper).unhealthy)


def test_a_new_file_of_variables_makes_it_anew(
    keeper: ContainerKeeper, apply: Apply, made: Made, daemon: Dockerd, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("A=1")
    spec = made(environmentFiles=[str(file)])
    apply("web", spec)
    assert not differing(spec, seen(keeper).spec)
    file.write_text("A=2")
    assert differing(spec, seen(keeper).spec) == {"environment_files"}
    apply("web", spec)
    assert not differing(spec, seen(keeper).spec)
    assert daemon.docker("exec", "web", "sh", "-c", "echo $A").stdout == "2\n"


def test_a_secret_is_a_file_inside(apply: Apply, made: Made, daemon: Dockerd, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("canary")
    apply("web", made(secrets=[{"name": "key", "file": str(tmp_path / "key")}]))
    assert daemon.docker("exec", "web", "cat", "/run/secrets/key").stdout == "canary"
    assert "canary" not in daemon.docker("inspect", "web").stdout


def test_an_equal_one_of_others_is_adopted_untouched(
    keeper: ContainerKeeper, apply: Apply, made: Made, daemon: Dockerd, engine: Engine
) -> None:
    command = ("sh", "-c", "trap exit TERM; sleep infinity & wait")
    daemon.docker("run", "--detach", "--name", "web", "--network", "none", "--env", "A=1", BUSYBOX, *command)
    first = identifier(engine)
    spec = made(environment={"A": "1"})
    spec.ClearField("stop_grace")
    assert not differing(spec, seen(keeper).spec)
    assert not apply("web", spec).changed
    assert identifier(engine) == first


def test_images_that_are_not_there(apply: Apply, made: Made, engine: Engine) -> None:
    with pytest.raises(NotFound, match="may not be fetched"):
        apply("web", made(image="absent:1", pull="PULL_POLICY_NEVER"))
    with pytest.raises(ControlError):
        apply("web", made(image="127.0.0.1:1/absent:1"))
    assert engine.containers.inspect("web") is None


def test_a_network_that_comes_later(
    keeper: ContainerKeeper, apply: Apply, made: Made, daemon: Dockerd
) -> None:
    daemon.docker("network", "create", "--internal", "inner")
    spec = made(networks=[{"network": "inner"}, {"network": "later"}])
    for _ in range(2):
        with pytest.raises(NotFound, match="later"):
            apply("web", spec)
    daemon.docker("network", "create", "--internal", "later")
    apply("web", spec)
    assert not differing(spec, seen(keeper).spec)
    keeper.remove("web")


def test_one_that_the_engine_starts_for_ever_is_told_with_its_own_words(
    keeper: ContainerKeeper, apply: Apply, made: Made
) -> None:
    always = {"condition": "RESTART_CONDITION_ALWAYS"}
    apply("web", made(command=["sh", "-c", "echo no database; exit 3"], restart=always))
    until(lambda: "it keeps ending: exit code 3" in seen(keeper).unhealthy, 20)
    until(lambda: "the last it said: no database" in seen(keeper).unhealthy, 20)
    until(lambda: seen(keeper).outlook is Outlook.STALLED, 20)


def test_one_that_ends_at_once_without_an_error(apply: Apply, made: Made) -> None:
    spec = made(command=["sh", "-c", "echo bye"])
    told: list[WrongState] = []

    def refused() -> bool:
        """On a machine that is busy it may run for longer than a moment."""
        try:
            apply("web", spec)
        except WrongState as error:
            told.append(error)
        return bool(told)

    until(refused, 30)
    assert "ends at once with exit code 0, and it should run; the last it said: bye" in told[0].message
    assert "condition: NO" in told[0].next_step


def test_one_whose_health_is_not_known_yet_is_not_ready(
    keeper: ContainerKeeper, apply: Apply, made: Made, engine: Engine
) -> None:
    check = {"command": ["test -e /tmp/well"], "interval": 100, "startPeriod": 60_000}
    apply("web", made(healthCheck=check))
    assert "has not said yet" in seen(keeper).unhealthy
    engine.containers.exec("web", ["touch", "/tmp/well"]).read()
    until(lambda: not seen(keeper).unhealthy)
