"""A spec in the engine's words."""

from __future__ import annotations

import json
from collections.abc import Callable

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import creation, spec_label
from services.homelab.containers.creation import Material, body, update_body


def test_secrets_are_files_and_never_in_the_words(made: Callable[..., pb.Container]) -> None:
    spec = made(
        secrets=[{"name": "key", "file": "/srv/key"}, {"name": "b", "file": "/srv/b", "target": "/etc/b"}]
    )
    mounts = body("web", spec)["HostConfig"]["Mounts"]
    assert mounts == [
        {"Type": "bind", "Source": "/srv/key", "Target": "/run/secrets/key", "ReadOnly": True},
        {"Type": "bind", "Source": "/srv/b", "Target": "/etc/b", "ReadOnly": True},
    ]


def test_variables_of_files_are_in_no_label(made: Callable[..., pb.Container]) -> None:
    spec = made(environmentFiles=["/srv/env"], environment={"A": "mine"})
    material = Material(environment={"A": "file", "B": "canary"}, digest="salt:1")
    found = body("web", spec, {"further": "label"}, material)
    assert found["Env"] == ["A=mine", "B=canary"]
    assert "canary" not in json.dumps(found["Labels"])
    assert found["Labels"][spec_label.FILES] == "salt:1"
    assert (found["Labels"]["further"], found["Labels"][spec_label.NAME]) == ("label", "web")


def test_volumes_without_a_name_are_carried_over(made: Callable[..., pb.Container]) -> None:
    spec = made(mounts=[{"target": "/a"}, {"target": "/b", "source": "named"}])
    mounts = body("web", spec, {}, Material(volumes={"/a": "f" * 64, "/image": "e" * 64}))["HostConfig"][
        "Mounts"
    ]
    found = {mount["Target"]: mount.get("Source") for mount in mounts}
    assert found == {"/a": "f" * 64, "/b": "named", "/image": "e" * 64}


def test_limits_that_an_engine_takes_on_a_living_one(made: Callable[..., pb.Container]) -> None:
    spec = made(limits={"memory": "100000000", "cpuMillis": 500})
    now = {
        "HostConfig": {"Memory": 50_000_000, "MemorySwap": 100_000_000, "CpuQuota": 1, "CpuPeriod": 50_000}
    }
    found = update_body(spec, now)
    assert (found["Memory"], found["MemorySwap"]) == (100_000_000, 200_000_000)
    assert (found["CpuQuota"], found["CpuPeriod"], "NanoCpus" in found) == (25_000, 50_000, False)


def test_devices() -> None:
    for text, parts in (
        ("/dev/a", ("/dev/a", "/dev/a", "rwm")),
        ("/dev/a:rw", ("/dev/a", "/dev/a", "rw")),
        ("/dev/a:/dev/b", ("/dev/a", "/dev/b", "rwm")),
        ("/dev/a:/dev/b:r", ("/dev/a", "/dev/b", "r")),
    ):
        assert creation.device_parts(text) == parts
