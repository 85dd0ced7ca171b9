"""What a container may not say, and the one form of what it may."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import creation
from services.homelab.containers.normalisation import check, normalise


def spec(**fields: Any) -> pb.Container:
    return json_format.ParseDict({"image": "a:1", **fields}, pb.Container())


BIND = "MOUNT_TYPE_BIND"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"mounts": [{"target": "/a", "source": "rel", "type": BIND}]}, "mounts[0].source"),
        ({"mounts": [{"target": "/a", "source": "/x"}]}, "mounts[0].source"),
        ({"mounts": [{"target": "/", "source": "v"}]}, "mounts[0].target"),
        ({"mounts": [{"target": "/a/../b", "source": "v"}]}, "mounts[0].target"),
        ({"mounts": [{"target": "/a", "source": "v"}, {"target": "/a/", "source": "w"}]}, "mounts[1].target"),
        ({"mounts": [{"target": "/a", "source": "v", "propagation": "shared"}]}, "mounts[0].propagation"),
        ({"mounts": [{"target": "/a", "source": "v"}], "tmpfs": {"/a": ""}}, "tmpfs[/a]"),
        ({"environmentFiles": ["rel"]}, "environment_files[0]"),
        ({"networks": [{"network": "n"}], "networkMode": "host"}, "network_mode"),
        ({"networkMode": "host", "ports": [{"container": 80}]}, "ports"),
        ({"networkMode": "container:x", "hostname": "h"}, "hostname"),
        ({"networks": [{"network": "n", "ipv4Address": "1.2.3"}]}, "networks[0].ipv4_address"),
        ({"networks": [{"network": "n", "ipv6Address": "1.2.3.4"}]}, "networks[0].ipv6_address"),
        ({"ports": [{"container": 1, "host": 80}, {"container": 2, "host": 80}]}, "ports[1].host"),
        ({"ports": [{"container": 1, "address": "x"}]}, "ports[0].address"),
        ({"labels": {"io.nixcc.spec": "x"}}, "labels[io.nixcc.spec]"),
        ({"labels": {"com.docker.compose.project": "x"}}, "labels[com.docker.compose.project]"),
        (
            {"restart": {"condition": "RESTART_CONDITION_ALWAYS", "maximumRetries": 3}},
            "restart.maximum_retries",
        ),
        ({"healthCheck": {"disabled": True, "command": ["x"]}}, "health_check.command"),
        ({"ulimits": {"nofile": "many"}}, "ulimits[nofile]"),
        ({"ulimits": {"nofile": "9:8"}}, "ulimits[nofile]"),
        ({"devices": ["dri"]}, "devices[0]"),
        ({"extraHosts": ["x"]}, "extra_hosts[0]"),
        ({"limits": {"memory": "7000000", "memoryReservation": "8000000"}}, "limits.memory_reservation"),
        ({"gpus": {"count": 1, "ids": ["0"]}}, "gpus.count"),
        ({"update": "UPDATE_POLICY_AUTO", "image": f"x@sha256:{0:064}"}, "update"),
        ({"update": "UPDATE_POLICY_AUTO", "pull": "PULL_POLICY_NEVER"}, "update"),
        ({"capAdd": ["ALL"], "capDrop": ["ALL"]}, "cap_drop"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], wrong: str) -> None:
    assert [one.field for one in check("web", spec(**fields))] == [wrong]


@pytest.mark.parametrize("name", ["a", "-ab", "a/b", "web.nixcc-new", "web.nixcc-old", "ä1"])
def test_names_that_are_none(name: str) -> None:
    assert check(name, spec())


def test_one_form() -> None:
    found = spec(
        image="docker.io/library/a",
        mounts=[{"target": "/a/", "source": "/x/", "type": BIND}, {"target": "/b", "source": ""}],
        ports=[{"container": 80, "address": ""}],
        capAdd=["CAP_NET_ADMIN"],
        securityOptions=["no-new-privileges:true"],
        devices=["/dev/a:/dev/a:rwm"],
        ulimits={"nofile": "5:5"},
        user="",
        gpus={"count": 1},
    )
    assert not check("web", found)
    normalise(found)
    assert found == spec(
        image="a:latest",
        mounts=[
            {"target": "/a", "source": "/x", "type": BIND},
            {"target": "/b", "type": "MOUNT_TYPE_VOLUME"},
        ],
        ports=[{"container": 80, "protocol": "tcp"}],
        capAdd=["NET_ADMIN"],
        securityOptions=["no-new-privileges"],
        devices=["/dev/a"],
        ulimits={"nofile": "5"},
        gpus={"count": 1, "capabilities": ["gpu"]},
        networkMode="bridge",
    )
    again = pb.Container()
    again.CopyFrom(found)
    normalise(again)
    assert again == found


def test_graphics_cards_are_asked_for_as_the_docker_command_does() -> None:
    # What `docker create --gpus …` (28.2) sends, less what is empty.
    for gpus, sent in (
        (pb.Gpus(), {"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}),
        (pb.Gpus(count=2), {"Driver": "", "Count": 2, "Capabilities": [["gpu"]]}),
        (pb.Gpus(ids=["0"]), {"Driver": "", "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}),
        (
            pb.Gpus(count=1, driver="nvidia", capabilities=["utility"]),
            {"Driver": "nvidia", "Count": 1, "Capabilities": [["utility", "gpu"]]},
        ),
    ):
        found = pb.Container(image="a:1", gpus=gpus)
        normalise(found)
        assert creation.body("web", found)["HostConfig"]["DeviceRequests"] == [sent]
