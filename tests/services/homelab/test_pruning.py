"""What nobody uses, and what stays all the same."""

from __future__ import annotations

from typing import Any

from services.homelab.models import Declared
from services.homelab.pruning import (
    Holdings,
    unused_containers,
    unused_images,
    unused_networks,
    unused_volumes,
)

PROJECT = "com.docker.compose.project"


def container(name: str, state: str = "exited", **fields: Any) -> dict[str, Any]:
    row = {
        "Id": f"id-{name}",
        "Names": [f"/{name}"],
        "State": state,
        "ImageID": f"image-{name}",
        "Labels": {},
    }
    return {**row, **fields}


def holdings(**fields: Any) -> Holdings:
    empty: dict[str, Any] = {"containers": [], "images": [], "networks": [], "volumes": [], "usage": {}}
    return Holdings(**{**empty, **fields})


def told(found: Any) -> dict[str, bool]:
    return {one.name: not one.kept for one in found}


def test_only_containers_that_have_ended_and_that_nobody_declared_go() -> None:
    found = list(
        unused_containers(
            holdings(
                containers=[
                    container("old"),
                    container("runs", "running"),
                    container("held", "paused"),
                    container("again", "restarting"),
                    container("new", "created"),
                    container("declared"),
                    container("declared.nixcc-old"),
                    container("shop-web-1", Labels={PROJECT: "shop"}),
                    container("other-web-1", Labels={PROJECT: "other"}),
                ],
                usage={"Containers": [{"Id": "id-old", "SizeRw": 123}]},
            ),
            Declared(containers=frozenset({"declared"}), stacks=frozenset({"shop"})),
        )
    )
    assert told(found) == {
        "old": True,
        "new": True,
        "declared": False,
        "declared.nixcc-old": False,
        "shop-web-1": False,
        "other-web-1": True,
    }
    assert found[0].size == 123


def test_images_go_by_all_their_names_unless_they_are_used_or_declared() -> None:
    images = [
        {"Id": "image-web", "RepoTags": ["web:1"], "Size": 10},
        {"Id": "image-old", "RepoTags": ["old:1", "old:2"], "Size": 100},
        {"Id": "i3", "RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"], "Size": 7},
        {"Id": "i4", "RepoTags": None, "RepoDigests": ["app@sha256:12"], "Size": 7},
        {"Id": "i5", "RepoTags": ["docker.io/library/busybox:latest"], "Size": 7},
    ]
    found = list(
        unused_images(
            holdings(
                containers=[container("web"), container("old")],
                images=images,
                usage={"Images": [{"Id": "image-old", "SharedSize": 60}, {"Id": "i3", "SharedSize": -1}]},
            ),
            Declared(images=frozenset({"busybox"})),
            frozenset({"old"}),
        )
    )
    assert told(found) == {
        "old:1": True,
        "i3": True,
        "app@sha256:12": True,
        "docker.io/library/busybox:latest": False,
    }
    assert found[0].names == ("old:1", "old:2")
    assert [one.size for one in found] == [40, 7, 7, 7]


def test_a_network_that_a_stopped_container_is_in_is_used() -> None:
    found = unused_networks(
        holdings(
            containers=[container("web", NetworkSettings={"Networks": {"front": {}}})],
            networks=[
                {"Name": name} for name in ("bridge", "host", "none", "podman", "front", "back", "declared")
            ]
            + [
                {"Name": "shop_default", "Labels": {PROJECT: "shop"}},
                {"Name": "in", "Containers": {"x": {}}},
            ],
        ),
        Declared(networks=frozenset({"declared"}), stacks=frozenset({"shop"})),
        frozenset(),
    )
    assert told(found) == {"back": True, "declared": False, "shop_default": False}


def test_volumes_of_compose_projects_stay_even_if_nobody_declared_them() -> None:
    volumes = [{"Name": name, "Labels": None} for name in ("used", "of-gone", "free", "declared", "counted")]
    volumes.append({"Name": "shop_data", "Labels": {PROJECT: "shop"}})
    all_of_it = holdings(
        containers=[
            container("web", "running", Mounts=[{"Type": "volume", "Name": "used"}]),
            container("old", Mounts=[{"Type": "volume", "Name": "of-gone"}, {"Type": "bind"}]),
        ],
        volumes=volumes,
        usage={
            "Volumes": [
                {"Name": "free", "UsageData": {"Size": 5, "RefCount": 0}},
                {"Name": "counted", "UsageData": {"Size": 5, "RefCount": 1}},
            ]
        },
    )
    declared = Declared(volumes=frozenset({"declared"}))
    found = list(unused_volumes(all_of_it, declared, frozenset()))
    assert told(found) == {"free": True, "declared": False, "shop_data": False}
    assert found[0].size == 5
    with_old = told(unused_volumes(all_of_it, declared, frozenset({"old"})))
    assert with_old["of-gone"]
    assert not {"used", "counted"} & set(with_old)
