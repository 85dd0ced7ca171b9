"""What a backup holds is left alone by the loop, and set right by it afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import json_format

from common.errors import HostUnavailable
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.backup.hooks import Hold, Hooks
from services.homelab.containers.differences import differing
from services.homelab.containers.held import Held
from services.homelab.containers.inventory import Inventory
from services.homelab.containers.keeper import ContainerKeeper
from services.homelab.containers.material import Materials
from services.homelab.containers.normalisation import normalise
from services.homelab.drivers.memory import MemoryEngine
from services.homelab.image_updates.records import UpdateRecords


def quiet(message: str, percent: int | None) -> None:
    """Nobody looks at the progress."""


def spec(**fields: object) -> pb.Container:
    found = json_format.ParseDict({"image": "app:1", "running": True, **fields}, pb.Container())
    normalise(found)
    return found


def test_held_by_several() -> None:
    held = Held()
    with held.during(["a", "b"]):
        with held.during(["a"]):
            assert "a" in held
        assert "a" in held
        assert "c" not in held
    assert "a" not in held


@pytest.mark.parametrize("hold", list(Hold))
def test_what_stands_still_for_a_backup_is_left_alone(tmp_path: Path, hold: Hold) -> None:
    engine, held = MemoryEngine(), Held()
    engine.images.add("app:1", {"Cmd": ["serve"]})
    keeper = ContainerKeeper(
        engine, Inventory(engine), Materials(), UpdateRecords(tmp_path / "updates.json"), held
    )
    keeper.apply("web", spec(), quiet)

    def differences() -> frozenset[str]:
        found = keeper.detect(["web"])["web"]
        assert found is not None
        assert not isinstance(found, Exception)
        return differing(spec(), found.spec)

    with Hooks(engine.containers, tmp_path / "journal.json", held).held([("web", hold)]):
        assert not differences()
        assert not keeper.apply("web", spec(), quiet).changed
        with pytest.raises(HostUnavailable, match="web is held while it is backed up"):
            keeper.apply("web", spec(environment={"A": "1"}), quiet)
        state = (engine.containers.inspect("web") or {})["State"]
        assert (state["Running"], state["Paused"]) == ((True, True) if hold is Hold.PAUSE else (False, False))
    assert not differences()
    engine.containers.stop("web")
    assert differences() == {"running"}
