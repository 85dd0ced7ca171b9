"""Updates by policy: a real dockerd, a real registry, and the loop's part done by the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import HostUnavailable, InvalidRequest, NotFound, WrongState
from dockerd import Dockerd
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.differences import differing
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import normalise
from services.homelab.drivers.base import Engine
from services.homelab.image_updates.records import UpdateRecords
from services.homelab.image_updates.updater import Updater
from services.homelab.models import Declared, UpdatePolicy, Updates

pytestmark = pytest.mark.host
DAY = 86_400.0
Release = Callable[..., str]


class Place:
    """A container `web` of the registry's image, and what updates it."""

    def __init__(self, engine: Engine, folder: Path, image: str, policy: UpdatePolicy) -> None:
        self.engine = engine
        self.path = folder / "updates.json"
        self.now = 1_000_000.0
        self.policy: UpdatePolicy | Exception = policy
        self.spec = pb.Container(image=image, network_mode="none", running=True, stop_grace=1)
        normalise(self.spec)
        self.begin()

    def begin(self) -> None:
        """As after a restart of the service."""
        self.records = UpdateRecords(self.path)
        self.keeper = ContainerKeeper(self.engine, Inventory(self.engine), Materials(), self.records)
        self.updater = Updater(self.engine, self.declared, self.records, "0 4 * * *", clock=lambda: self.now)
        self.updater.start()

    def declared(self) -> Declared:
        if isinstance(self.policy, Exception):
            raise self.policy
        return Declared(containers=frozenset({"web"}), updates={"web": Updates(self.policy)})

    def apply(self) -> str:
        return self.keeper.apply("web", self.spec, lambda message, percent: None).message

    def differs(self) -> frozenset[str]:
        seen = self.keeper.detect(["web"])["web"]
        assert hasattr(seen, "spec")
        return differing(self.spec, seen.spec)  # type: ignore[union-attr]

    def image(self) -> str:
        return str((self.engine.containers.inspect("web") or {})["Image"])

    def day(self) -> int:
        """A day goes by; how often the registry was asked."""
        self.now += DAY
        count = 0
        for work in self.updater.due():
            work()
            count += 1
        return count


@pytest.fixture
def place(
    engine: Engine, release: Release, shop: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Place]:
    name = request.node.name.removeprefix("test_")[:30].strip("_").replace("_", "-")
    release(name, "a")
    made = Place(engine, tmp_path, f"{shop}/{name}:1", UpdatePolicy.AUTO)
    made.apply()
    yield made
    engine.containers.remove("web", force=True)


def test_a_newer_image_comes_by_itself(place: Place, release: Release, shop: str) -> None:
    old, name = place.image(), place.spec.image.removeprefix(f"{shop}/").removesuffix(":1")
    assert place.day() == 1
    assert place.day() == 1
    assert place.differs() == frozenset()

    new = release(name, "b")
    assert place.day() == 1
    assert place.differs() == {"image"}
    place.begin()  # killed before it was replaced
    assert place.differs() == {"image"}
    assert "before the old one went" in place.apply()
    assert place.image() != old
    assert place.differs() == frozenset()
    assert place.apply() == "web: was so already"
    [row] = place.updater.check()
    assert (row.running, row.outdated) == (new, False)
    assert place.records.get("web") is None


def test_one_that_is_not_well_goes_back_and_is_not_tried_again(
    place: Place, release: Release, shop: str
) -> None:
    old, name = place.image(), place.spec.image.removeprefix(f"{shop}/").removesuffix(":1")
    release(name, "b", "echo no luck; exit 3")
    place.day()
    with pytest.raises(WrongState, match=r"web was not replaced, the old one runs: .*exit code 3.*no luck"):
        place.apply()
    assert place.image() == old
    assert place.differs() == frozenset()
    place.begin()
    assert place.day() == 1
    assert place.differs() == frozenset()
    [row] = place.updater.check()
    assert row.outdated
    assert "no luck" in row.refused

    # Whoever makes it anew gets the good one.
    place.engine.containers.remove("web", force=True)
    place.apply()
    assert place.image() == old

    release(name, "c")
    place.day()
    assert place.differs() == {"image"}
    place.apply()
    assert place.image() != old


def test_one_that_works_for_a_few_seconds_only_goes_back(place: Place, release: Release, shop: str) -> None:
    old, name = place.image(), place.spec.image.removeprefix(f"{shop}/").removesuffix(":1")
    release(name, "b", "sleep 2; echo no luck; exit 3")
    place.day()
    with pytest.raises(WrongState, match=r"exit code 3.*no luck"):
        place.apply()
    assert place.image() == old


def test_told_only(place: Place, release: Release, shop: str) -> None:
    place.policy = UpdatePolicy.NOTIFY
    release(place.spec.image.removeprefix(f"{shop}/").removesuffix(":1"), "b")
    assert place.day() == 1
    assert place.differs() == frozenset()
    [row] = place.updater.check()
    assert (row.outdated, row.policy) == (True, UpdatePolicy.NOTIFY)


def test_never(place: Place, release: Release, shop: str) -> None:
    place.policy = UpdatePolicy.NEVER
    release(place.spec.image.removeprefix(f"{shop}/").removesuffix(":1"), "b")
    assert place.day() == 1
    assert place.differs() == frozenset()
    assert place.updater.check() == []


def test_by_hand_whatever_was_refused(place: Place, release: Release, shop: str) -> None:
    name = place.spec.image.removeprefix(f"{shop}/").removesuffix(":1")
    place.policy = UpdatePolicy.NEVER
    release(name, "b", "exit 3")
    said: list[str] = []

    def update() -> str:
        loop = threading.Timer(0.5, self_heal)
        loop.start()
        [row] = place.updater.update(["web"], lambda text, percent: said.append(text), threading.Event())
        loop.join()
        return row.refused

    def self_heal() -> None:
        try:
            place.apply()
        except WrongState:
            pass

    assert "exit code 3" in update()
    assert "waits until web was replaced" in said
    old = place.image()
    release(name, "c")
    assert update() == ""
    assert place.image() != old
    [row] = place.updater.update(["web"], lambda text, percent: None, threading.Event())
    assert not row.outdated


def test_whom_nobody_declared(place: Place, daemon: Dockerd) -> None:
    quiet, stop = lambda text, percent: None, threading.Event()
    with pytest.raises(InvalidRequest, match="only what is declared") as raised:
        place.updater.update(["web", "stranger"], quiet, stop)
    assert [one.description for one in raised.value.violations] == ["stranger is not declared"]
    place.engine.containers.remove("web", force=True)
    with pytest.raises(NotFound, match="web"):
        place.updater.update(["web"], quiet, stop)


def test_nobody_can_tell_what_is_declared(place: Place) -> None:
    place.policy = HostUnavailable("the control plane is down")
    assert place.day() == 1
    assert list(place.updater.due()) == []  # not at once again
    place.now += 601
    place.policy = UpdatePolicy.AUTO
    assert len(list(place.updater.due())) == 1


def test_what_is_built_here_is_never_replaced_by_a_strangers(
    place: Place, daemon: Dockerd, shop: str
) -> None:
    reference = place.spec.image
    place.engine.containers.remove("web", force=True)
    daemon.docker("tag", daemon.busybox("mine:1", command=("sleep", "1000")), reference)
    place.apply()
    place.day()
    assert place.differs() == frozenset()
    [row] = place.updater.check()
    assert not row.outdated
    assert "was not fetched" in row.error
