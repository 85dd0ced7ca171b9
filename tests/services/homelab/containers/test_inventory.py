"""Containers are inspected once, and again when the engine told of a change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from daemons import until
from dockerd import Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.inventory import Inventory
from services.homelab.drivers.base import Engine, Gap

pytestmark = pytest.mark.host
Apply = Callable[[str, pb.Container], Any]


@pytest.fixture
def asked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Inspections that reached the engine."""
    found: list[str] = []
    real = engine.containers.inspect

    def inspect(name: str) -> Any:
        found.append(name)
        return real(name)

    monkeypatch.setattr(engine.containers, "inspect", inspect)
    return found


def look(inventory: Inventory, name: str = "web") -> Any:
    return inventory.inspect(inventory.list().rows[name])


def settled(inventory: Inventory, asked: list[str]) -> None:
    """The events of what was done before have all come."""

    def kept() -> bool:
        look(inventory)
        asked.clear()
        look(inventory)
        return not asked

    until(kept)


def test_once_and_again_when_it_changed(
    inventory: Inventory, apply: Apply, made: Callable[..., pb.Container], daemon: Dockerd, asked: list[str]
) -> None:
    apply("web", made())
    settled(inventory, asked)
    for _ in range(5):
        look(inventory)
    assert asked == []
    daemon.docker("update", "--memory", "64m", "--memory-swap", "64m", "web")
    until(lambda: look(inventory)["HostConfig"]["Memory"] == 64 * 1024**2)
    settled(inventory, asked)
    daemon.docker("exec", "web", "true")
    daemon.docker("kill", "web")
    assert look(inventory)["State"]["Running"] is False, "the list alone shows it"


def test_nothing_is_kept_while_nobody_listens(
    engine: Engine, apply: Apply, made: Callable[..., pb.Container], asked: list[str]
) -> None:
    apply("web", made())
    deaf = Inventory(engine)
    asked.clear()
    look(deaf)
    look(deaf)
    assert len(asked) == 2


def test_a_gap_in_what_is_told_lets_go_of_all(
    inventory: Inventory, apply: Apply, made: Callable[..., pb.Container], asked: list[str]
) -> None:
    apply("web", made())
    settled(inventory, asked)
    inventory._listen(Gap())  # as the driver does when its stream broke
    look(inventory)
    assert len(asked) == 1


def test_one_that_changes_while_it_is_looked_at_is_not_kept(
    inventory: Inventory,
    engine: Engine,
    apply: Apply,
    made: Callable[..., pb.Container],
    daemon: Dockerd,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    apply("web", made())
    settled(inventory, asked)
    inventory._listen(Gap())  # forget
    slow = engine.containers.inspect

    def inspect(name: str) -> Any:
        found = slow(name)
        monkeypatch.setattr(engine.containers, "inspect", slow)
        before = inventory._changes  # how the event is known to have come
        daemon.docker("update", "--memory", "64m", "--memory-swap", "64m", "web")
        until(lambda: inventory._changes > before)
        return found

    monkeypatch.setattr(engine.containers, "inspect", inspect)
    assert look(inventory)["HostConfig"]["Memory"] == 0
    assert look(inventory)["HostConfig"]["Memory"] == 64 * 1024**2


def test_images_are_asked_for_once(
    inventory: Inventory, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier = str(engine.images.list()[0]["Id"])
    found = inventory.image(identifier)
    monkeypatch.setattr(engine.images, "inspect", lambda reference: None)
    assert found is not None
    assert inventory.image(identifier) == found
    assert inventory.image("sha256:" + "0" * 64) is None
