"""A stack comes about in order, is changed where it differs, and others' projects are adopted."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.errors import ControlError, HostUnavailable, WrongState
from dockerd import Dockerd
from nixcc.homelab.v1 import stack_pb2 as pb
from reconciler.diff import diff
from services.homelab.drivers.base import Engine
from services.homelab.kinds.stack import StackKind

pytestmark = pytest.mark.host
Filled = Callable[..., pb.Stack]
Apply = Callable[[pb.Stack | None], Any]

SLEEP = 'sh -c "trap exit TERM; sleep infinity & wait"'
BASE = f"""
services:
  web:
    image: busybox:1
    command: {SLEEP}
    depends_on: {{db: {{condition: service_healthy}}, init: {{condition: service_completed_successfully}}}}
    stop_grace_period: 1s
  db:
    image: busybox:1
    command: sh -c "trap exit TERM; sleep 1; touch /tmp/well; sleep infinity & wait"
    volumes: [data:/data]
    healthcheck: {{test: [CMD, test, -e, /tmp/well], interval: 200ms, retries: 20}}
    stop_grace_period: 1s
  init:
    image: busybox:1
    command: sh -c "sleep 0.5; exit 0"
volumes: {{data: {{}}}}
"""


def differs(kind: StackKind, spec: pb.Stack) -> list[str]:
    found = kind.detect(["demo"])["demo"]
    assert not isinstance(found, ControlError)
    return [one.path for one in diff(spec, None if found is None else found.spec)]


def told(engine: Engine, name: str) -> Any:
    found = engine.containers.inspect(name)
    assert found is not None, name
    return found


def test_in_order_and_then_nothing(kind: StackKind, filled: Filled, apply: Apply, engine: Engine) -> None:
    spec = filled(BASE)
    assert apply(spec).changed
    assert differs(kind, spec) == []
    assert not apply(spec).changed
    started = {name: told(engine, f"demo-{name}-1")["State"]["StartedAt"] for name in ("db", "init", "web")}
    assert started["web"] > told(engine, "demo-init-1")["State"]["FinishedAt"]
    assert told(engine, "demo-db-1")["State"]["Health"]["Status"] == "healthy"
    assert list(kind.enumerate()) == ["demo"]


def test_one_that_differs_alone_is_replaced(
    kind: StackKind, filled: Filled, apply: Apply, engine: Engine
) -> None:
    apply(filled(BASE))
    before = told(engine, "demo-db-1")["Id"], told(engine, "demo-web-1")["Id"]
    spec = filled(
        BASE.replace("stop_grace_period: 1s\n  db", "environment: {A: b}\n    stop_grace_period: 1s\n  db")
    )
    assert [path.partition(".")[0] for path in differs(kind, spec)] == ["containers[demo-web-1]"]
    apply(spec)
    after = told(engine, "demo-db-1")["Id"], told(engine, "demo-web-1")["Id"]
    assert (after[0], after[1] != before[1]) == (before[0], True)
    assert differs(kind, spec) == []


def test_what_leaves_the_file_goes_and_its_data_stays(
    kind: StackKind, filled: Filled, apply: Apply, engine: Engine
) -> None:
    apply(filled(BASE))
    spec = filled(f"services: {{web: {{image: 'busybox:1', command: '{SLEEP}', network_mode: none}}}}")
    apply(spec)
    assert differs(kind, spec) == []
    assert engine.containers.inspect("demo-db-1") is None
    assert engine.networks.inspect("demo_default") is None
    assert engine.volumes.inspect("demo_data") is not None
    apply(None)
    assert kind.detect(["demo"])["demo"] is None
    assert engine.volumes.inspect("demo_data") is not None


def test_a_network_that_can_not_be_changed_holds_up_no_container(
    filled: Filled, apply: Apply, engine: Engine
) -> None:
    web = f"services: {{web: {{image: 'busybox:1', command: '{SLEEP}'}}}}\n"
    apply(filled(web + "networks: {default: {internal: true}}"))
    engine.containers.kill("demo-web-1")
    with pytest.raises(WrongState, match="demo-web-1 is in the network demo_default"):
        apply(filled(web + "networks: {default: {internal: true, attachable: true}}"))
    assert told(engine, "demo-web-1")["State"]["Running"]


def test_stopped_as_a_whole(kind: StackKind, filled: Filled, apply: Apply, engine: Engine) -> None:
    apply(filled(BASE))
    spec = filled(BASE, running=False)
    apply(spec)
    assert not told(engine, "demo-web-1")["State"]["Running"]
    assert not told(engine, "demo-db-1")["State"]["Running"]
    apply(filled(BASE))
    assert told(engine, "demo-web-1")["State"]["Running"]


def test_what_fails_holds_up_only_those_that_wait_for_it(
    filled: Filled, apply: Apply, engine: Engine
) -> None:
    text = f"""
services:
  bad: {{image: busybox:1, command: sh -c "echo no disk; exit 3"}}
  waits: {{image: busybox:1, command: {SLEEP}, depends_on: {{bad: {{condition: service_completed_successfully}}}}}}
  other: {{image: busybox:1, command: {SLEEP}, stop_grace_period: 1s}}
"""
    with pytest.raises(ControlError, match=r"demo-bad-1 ended with exit code 3.*no disk"):
        apply(filled(text))
    assert told(engine, "demo-other-1")["State"]["Running"]
    assert engine.containers.inspect("demo-waits-1") is None


@pytest.fixture
def composed(require: Any, daemon: Dockerd, tmp_path: Path) -> Callable[[str], None]:
    """Runs docker-compose up."""
    require(binary="docker-compose")

    def up(text: str) -> None:
        folder = tmp_path / "demo"
        folder.mkdir(exist_ok=True)
        (folder / "docker-compose.yml").write_text(f'version: "3.8"\n{text}')
        subprocess.run(
            ["docker-compose", "up", "-d"],
            cwd=folder,
            env={**os.environ, "DOCKER_HOST": daemon.address},
            check=True,
            capture_output=True,
            timeout=60,
        )

    return up


def test_a_running_project_is_adopted_without_a_restart(
    kind: StackKind, filled: Filled, apply: Apply, engine: Engine, composed: Callable[[str], None]
) -> None:
    text = f"""
services:
  web:
    image: busybox:1
    command: {SLEEP}
    labels: {{who: me}}
    ports: ['127.0.0.1:8088:80']
    environment: {{A: '1'}}
    restart: unless-stopped
    ulimits: {{nofile: 100}}
    cap_drop: [MKNOD]
    volumes: ['data:/data', '/tmp:/host:ro']
  init: {{image: busybox:1, command: "true"}}
volumes: {{data: {{}}}}
"""
    composed(text)
    ids = {row["Id"]: told(engine, row["Id"])["State"]["StartedAt"] for row in engine.containers.list()}
    spec = filled(text)
    applied = apply(spec)
    assert "demo_web_1 is called demo-web-1" in applied.message
    assert {
        row["Id"]: told(engine, row["Id"])["State"]["StartedAt"] for row in engine.containers.list()
    } == ids
    assert differs(kind, spec) == []


def test_files_of_variables_and_secrets_are_known_again(
    kind: StackKind,
    filled: Filled,
    apply: Apply,
    engine: Engine,
    composed: Callable[[str], None],
    tmp_path: Path,
) -> None:
    """They are adopted where variables and mounts are what the files would make."""
    (tmp_path / "a.env").write_text('A=1\nB="1 c"\n')
    (tmp_path / "key").write_text("k")
    text = f"""
services:
  web:
    image: busybox:1
    command: {SLEEP}
    stop_grace_period: 1s
    env_file: [{tmp_path}/a.env]
    environment: {{C: '3'}}
    secrets: [key]
secrets: {{key: {{file: {tmp_path}/key}}}}
"""
    composed(text)
    (row,) = engine.containers.list()
    since = told(engine, row["Id"])["State"]["StartedAt"]
    spec = filled(text)
    apply(spec)
    assert told(engine, "demo-web-1")["State"]["StartedAt"] == since
    assert differs(kind, spec) == []
    # From here on a change of the file is noticed, as with one that was made here.
    (tmp_path / "a.env").write_text("A=2\n")
    assert differs(kind, spec)
    apply(spec)
    assert told(engine, "demo-web-1")["Id"] != row["Id"]
    assert differs(kind, spec) == []


def test_a_config_that_the_file_holds(
    kind: StackKind, filled: Filled, apply: Apply, engine: Engine, daemon: Dockerd, tmp_path: Path
) -> None:
    text = f"""
services:
  web: {{image: busybox:1, command: {SLEEP}, stop_grace_period: 1s, network_mode: none, user: '1000', configs: [c]}}
configs: {{c: {{content: "one\\n"}}}}
"""
    apply(filled(text))
    assert daemon.docker("exec", "demo-web-1", "cat", "/c").stdout == "one\n"
    before = told(engine, "demo-web-1")["Id"]
    assert not apply(filled(text)).changed
    spec = filled(text.replace("one\\n", "two\\n"))
    apply(spec)
    assert daemon.docker("exec", "demo-web-1", "cat", "/c").stdout == "two\n"
    assert told(engine, "demo-web-1")["Id"] != before
    assert differs(kind, spec) == []
    assert len([*(tmp_path / "stacks/demo").iterdir()]) == 1
    apply(None)
    assert not (tmp_path / "stacks/demo").exists()


def test_an_engine_that_hangs_is_told_once_and_not_by_each_container(
    kind: StackKind, filled: Filled, apply: Apply, daemon: Dockerd, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(filled(BASE))
    monkeypatch.setattr("services.homelab.drivers.docker_calls._READING", 1.0)
    changed = filled(BASE.replace("stop_grace_period: 1s", "environment: {A: b}\n    stop_grace_period: 1s"))
    began = time.monotonic()
    with daemon.hanging(), pytest.raises(HostUnavailable, match="hangs"):
        apply(changed)
    assert time.monotonic() - began < 15
