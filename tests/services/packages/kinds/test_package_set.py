"""PackageSet: rendered, seen in the generation, and refused beside what it conflicts with, under the real loop."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from common.errors import InvalidRequest, WrongState
from common.manager import Action, Change
from nixcc.manager.v1 import manager_pb2, manager_pb2_grpc
from nixcc.packages.v1 import package_set_pb2 as pb
from plane import Plane, condition, plane, resource
from services.packages import create
from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.kinds.package_set import PackageSetKind
from vm_kinds import look, report, violations


class Declared:
    """Sets that are declared, as the reconciler would tell."""

    def __init__(self) -> None:
        self.sets: dict[str, Sequence[str]] = {}

    def conflicts(self) -> Mapping[str, Sequence[str]]:
        return self.sets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/NIXOS").touch()
    return tmp_path / "root"


@pytest.fixture
def declared() -> Declared:
    return Declared()


@pytest.fixture
def kind(root: Path, declared: Declared) -> PackageSetKind:
    return PackageSetKind(ActiveGeneration(root), declared)


def contain(root: Path, name: str, options: object) -> None:
    folder = root / "run/current-system/etc/nixcc"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"kind": "PackageSet", "name": name, "options": options}]
    (folder / "desired.json").write_text(json.dumps({"version": 1, "options": {}, "resources": rows}))


def test_what_the_generation_contains_is_seen(kind: PackageSetKind, root: Path) -> None:
    assert look(kind, "web-dev") is None
    options = kind.render("web-dev", pb.PackageSet(packages=["nodejs", "deno", "python3Packages.requests"]))
    contain(root, "web-dev", options)
    assert sorted(look(kind, "web-dev").spec.packages) == ["deno", "nodejs", "python3Packages.requests"]
    assert kind.enumerate() == ["web-dev"]


@pytest.mark.parametrize("who_says_so", ["docker", "podman"])
def test_conflicts_work_both_ways(kind: PackageSetKind, declared: Declared, who_says_so: str) -> None:
    other = {"docker": "podman", "podman": "docker"}[who_says_so]
    declared.sets = {"docker": (), "podman": (), who_says_so: (other,)}
    for name in ("docker", "podman"):
        spec = pb.PackageSet(packages=["x"], conflicts=declared.sets[name])
        with pytest.raises(InvalidRequest, match="can't be had beside") as caught:
            kind.render(name, spec)
        assert caught.value.violations[0].field == "conflicts"
    assert kind.render("web-dev", pb.PackageSet(packages=["x"], conflicts=["absent"]))


def test_only_a_generation_makes_it_so(kind: PackageSetKind) -> None:
    with pytest.raises(WrongState):
        kind.apply(Change("x", Action.CREATE, pb.PackageSet(packages=["x"]), None), report)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        (pb.PackageSet(), ["packages"]),
        (pb.PackageSet(requires=["base"]), []),
        (pb.PackageSet(packages=["a b"]), ["packages[0]"]),
        (pb.PackageSet(packages=["${x}"]), ["packages[0]"]),
        (pb.PackageSet(packages=["x"], requires=["self"]), ["requires"]),
        (pb.PackageSet(packages=["x"], conflicts=["self"]), ["conflicts"]),
        (pb.PackageSet(packages=["x"], requires=["a"], conflicts=["a"]), ["conflicts"]),
    ],
    ids=lambda value: str(value).replace("\n", " ")[:40],
)
def test_validation(kind: PackageSetKind, spec: pb.PackageSet, fields: list[str]) -> None:
    assert violations(kind, "self", spec) == fields


@pytest.fixture
async def host(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plane]:
    monkeypatch.setenv("NCC_PACKAGES_DRIVER", "memory")
    async with plane(tmp_path, {"packages": create}, root=root) as started:
        yield started


async def render(host: Plane, **sets: pb.PackageSet) -> list[str]:
    """What is wrong with each, told over the wire."""
    from common.rpc import aio_channel

    request = manager_pb2.RenderRequest()
    for name, spec in sets.items():
        packed = request.resources.add(kind="PackageSet", name=name).spec
        packed.Pack(spec)
    async with aio_channel(host.settings.service_socket("packages")) as channel:
        answer = await manager_pb2_grpc.ManagerServiceStub(channel).Render(request)
    return ["; ".join(v.description for v in one.violations) for one in answer.renderings]


async def test_sets_under_the_real_loop(host: Plane, root: Path) -> None:
    docker = pb.PackageSet(packages=["docker-compose"], conflicts=["podman"])
    podman = pb.PackageSet(packages=["podman-compose"])
    base = pb.PackageSet(packages=["git"], requires=["docker"])
    await host.apply(resource(docker, "docker"), resource(podman, "podman"), resource(base, "base"))
    waiting = await host.until("PackageSet", "docker", lambda r: condition(r, "Ready").reason != "")
    assert condition(waiting, "Ready").reason == "AwaitsGeneration"

    assert await render(host, docker=docker, podman=podman, base=base) == [
        "podman is declared, too: remove one",
        "docker is declared, too: remove one",
        "",
    ]
    await host.delete("PackageSet", "podman")
    await host.until_gone("PackageSet", "podman")
    assert await render(host, docker=docker, base=base) == ["", ""]

    contain(root, "docker", PackageSetKind(ActiveGeneration(root), Declared()).render("docker", docker))
    await host.reconcile("PackageSet")
    await host.until_ready("PackageSet", "docker")
