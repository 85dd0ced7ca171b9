"""What compose's tools made is adopted where variables and mounts are what the spec's files would make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import spec_label
from services.homelab.containers.adoption import Adoptions
from services.homelab.containers.differences import differing
from services.homelab.containers.material import Materials

Made = Callable[..., pb.Container]
MIXED = frozenset({"environment", "environment_files", "mounts", "secrets"})


class Place:
    """A container with a file of variables and a secret, as it is asked for and as the engine tells of it."""

    def __init__(self, folder: Path, made: Made) -> None:
        self.variables, self.secret = folder / "env", folder / "key"
        self.variables.write_text("A=1\nB=2\n")
        self.secret.write_text("canary")
        self.spec = made(
            environment={"B": "3"},
            environmentFiles=[str(self.variables)],
            secrets=[{"name": "key", "file": str(self.secret)}],
        )
        self.mount = {"target": "/run/secrets/key", "source": str(self.secret), "type": "MOUNT_TYPE_BIND"}
        self.seen = made(environment={"A": "1", "B": "3"}, mounts=[self.mount])
        self.inspected: dict[str, Any] = {
            "Id": "1",
            "Name": "/web",
            "Config": {"Env": ["A=1", "B=3", "PATH=/bin"], "Labels": {"com.docker.compose.project": "demo"}},
        }
        self.adoptions = Adoptions(Materials())

    def taken(self, fields: frozenset[str] = MIXED) -> bool:
        return self.adoptions.take("web", self.spec, self.inspected, self.seen, fields)


@pytest.fixture
def place(tmp_path: Path, made: Made) -> Place:
    return Place(tmp_path, made)


def test_an_equal_one_counts_as_made_from_the_spec(place: Place) -> None:
    assert place.adoptions.labelled(place.inspected) is place.inspected
    assert place.taken()
    labels = place.adoptions.labelled(place.inspected)["Config"]["Labels"]
    found = spec_label.read(labels)
    assert found is not None
    assert not differing(place.spec, found)
    assert labels["com.docker.compose.project"] == "demo"
    assert "canary" not in str(labels)
    assert not Materials().is_stale(place.spec, labels)
    place.variables.write_text("A=2\nB=2\n")
    assert Materials().is_stale(place.spec, labels), "a file that changes later is noticed"


def test_another_one_of_that_name_is_not_meant(place: Place) -> None:
    assert place.taken()
    other = {**place.inspected, "Id": "2"}
    assert place.adoptions.labelled(other) is other


def _another_value(place: Place) -> None:
    place.inspected["Config"]["Env"][0] = "A=7"


def _a_variable_more(place: Place) -> None:
    place.seen.environment["C"] = "1"


def _a_variable_less(place: Place) -> None:
    place.inspected["Config"]["Env"].remove("A=1")


def _a_mount_more(place: Place) -> None:
    place.seen.mounts.add(target="/x", source="/etc", type=pb.MOUNT_TYPE_BIND)


def _another_secret(place: Place) -> None:
    place.seen.mounts[0].source = "/etc/shadow"


def _no_file(place: Place) -> None:
    place.variables.unlink()


def _made_here(place: Place) -> None:
    place.inspected["Config"]["Labels"][spec_label.SPEC] = "{}"


@pytest.mark.parametrize(
    "change",
    [
        _another_value,
        _a_variable_more,
        _a_variable_less,
        _a_mount_more,
        _another_secret,
        _no_file,
        _made_here,
    ],
)
def test_what_differs_is_not_adopted(place: Place, change: Callable[[Place], None]) -> None:
    change(place)
    assert not place.taken()
    assert place.adoptions.labelled(place.inspected) is place.inspected


@pytest.mark.parametrize("fields", [frozenset(), frozenset({"image"}), MIXED | {"user"}])
def test_nor_where_something_else_differs(place: Place, fields: frozenset[str]) -> None:
    assert not place.taken(fields)
