"""What killed runs left is undone, unless the job runs now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.homelab.backup.leftovers import Leftovers
from services.homelab.drivers.memory import MemoryEngine


class Copies:
    """Disks that were copied, by job."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def copied(self) -> list[str]:
        return sorted(self.names)

    def forget_copies(self, name: str) -> None:
        self.names.discard(name)


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> MemoryEngine:
    made = MemoryEngine()
    archive = tmp_path_factory.mktemp("image") / "root.tar"
    archive.touch()
    made.images.import_rootfs(archive, "busybox:1", [], lambda *_: None)
    for name in ("db", "web"):
        made.containers.create(name, {"Image": "busybox:1", "Cmd": ["sleep", "infinity"]})
        made.containers.start(name)
        made.containers.pause(name)
    return made


def is_paused(engine: MemoryEngine, name: str) -> bool:
    return bool((engine.containers.inspect(name) or {})["State"]["Paused"])


def test_all_but_that_of_jobs_that_run(engine: MemoryEngine, tmp_path: Path) -> None:
    for job, name in (("nightly", "db"), ("weekly", "web")):
        identity = (engine.containers.inspect(name) or {})["Id"]
        (tmp_path / f"{job}.json").write_text(json.dumps([[identity, "PAUSE"]]))
    copies: Any = Copies("nightly", "weekly")
    running = {"weekly"}

    @contextmanager
    def alone(name: str) -> Iterator[bool]:
        yield name not in running

    leftovers = Leftovers(engine.containers, copies, tmp_path, alone)
    leftovers.undo()
    assert (is_paused(engine, "db"), is_paused(engine, "web")) == (False, True)
    assert copies.names == {"weekly"}

    running.clear()
    leftovers.undo()
    assert not is_paused(engine, "web")
    assert not copies.names
    assert not list(tmp_path.iterdir())


def test_a_journal_that_can_not_be_read_holds_up_no_other(engine: MemoryEngine, tmp_path: Path) -> None:
    identity = (engine.containers.inspect("web") or {})["Id"]
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text(json.dumps([[identity, "PAUSE"]]))

    @contextmanager
    def alone(name: str) -> Iterator[bool]:
        yield True

    Leftovers(engine.containers, Copies(), tmp_path, alone).undo()  # type: ignore[arg-type]
    assert not is_paused(engine, "web")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
