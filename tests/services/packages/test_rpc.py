"""The service over its socket, on the host in memory: the manager contract and every domain rpc."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from common.host import serve_service
from common.rpc import aio_channel
from nixcc.manager.v1 import manager_pb2, manager_pb2_grpc
from nixcc.packages.v1 import package_pb2, packages_service_pb2_grpc
from nixcc.packages.v1 import packages_service_pb2 as pb
from services.packages import create


@pytest.fixture
async def channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[grpc.aio.Channel]:
    monkeypatch.setenv("NCC_PACKAGES_DRIVER", "memory")
    (tmp_path / "root").mkdir()
    async with (
        serve_service("packages", create, tmp_path / "p.sock", state_dir=tmp_path, root=tmp_path / "root"),
        aio_channel(tmp_path / "p.sock") as opened,
    ):
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return packages_service_pb2_grpc.PackagesServiceStub(channel)


async def result(call: Any) -> Any:
    """The last message's result; before it came progress only."""
    events = [event async for event in call]
    assert all(event.WhichOneof("event") == "progress" for event in events[:-1])
    return events[-1].result


async def install(channel: grpc.aio.Channel, name: str) -> manager_pb2.ApplyResult:
    request = manager_pb2.ApplyRequest(kind="Package", key=name, action=manager_pb2.ACTION_CREATE)
    request.desired.Pack(package_pb2.Package(attribute=name, driver=package_pb2.PACKAGE_DRIVER_PROFILE))
    manager = manager_pb2_grpc.ManagerServiceStub(channel)
    return [event async for event in manager.Apply(request)][-1].result


async def refused(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name


async def test_describe(channel: grpc.aio.Channel) -> None:
    answer = await manager_pb2_grpc.ManagerServiceStub(channel).Describe(manager_pb2.DescribeRequest())
    kinds = {kind.kind: kind for kind in answer.kinds}
    assert set(kinds) == {"Package", "PackageSet", "Substituter"}
    assert kinds["Package"].watchable
    assert kinds["Package"].enumerable
    assert not kinds["Package"].unsupported
    assert "no NixOS generations" in kinds["PackageSet"].unsupported
    assert answer.driver == "memory"


async def test_the_index(stub: Any, tmp_path: Path) -> None:
    assert await refused(stub.Search(pb.SearchRequest(query="jq"))) == "NOT_FOUND"
    first = await result(stub.RefreshIndex(pb.RefreshIndexRequest()))
    assert (first.changed, first.index.packages, first.index.flake) == (True, 3, "nixpkgs")
    assert not (await result(stub.RefreshIndex(pb.RefreshIndexRequest()))).changed
    assert (await result(stub.RefreshIndex(pb.RefreshIndexRequest(force=True)))).changed

    found = await stub.Search(pb.SearchRequest(query="greets", limit=1))
    assert len(found.packages) == 1
    assert found.more
    assert found.index.packages == 3
    assert await refused(stub.Search(pb.SearchRequest(query="x", limit=5_000))) == "INVALID_ARGUMENT"
    package = (await stub.GetPackage(pb.GetPackageRequest(attribute="jq"))).package
    assert (package.version, list(package.outputs)) == ("1.7.1", ["bin", "dev", "out"])
    versions = (await stub.ListVersions(pb.ListVersionsRequest(attribute="hello"))).versions
    assert [seen.version for seen in versions] == ["2.12"]
    assert await refused(stub.ListVersions(pb.ListVersionsRequest(attribute="absent"))) == "NOT_FOUND"

    listing = tmp_path / "listing.json"
    row = {"name": "x-1", "pname": "x", "version": "1", "system": "x", "meta": {}}
    listing.write_text(json.dumps({"version": 2, "packages": {"x": row}}))
    request = pb.RefreshIndexRequest(flake="other", file=str(listing))
    assert (await result(stub.RefreshIndex(request))).index.packages == 1
    listed = (await stub.ListIndexes(pb.ListIndexesRequest())).indexes
    assert [index.flake for index in listed] == ["nixpkgs", "other"]


async def test_the_profile(channel: grpc.aio.Channel, stub: Any) -> None:
    assert (await install(channel, "hello")).changed
    assert not (await install(channel, "hello")).changed
    assert (await install(channel, "jq")).changed
    installed = await stub.ListInstalled(pb.ListInstalledRequest())
    assert [(p.name, p.version, p.declared) for p in installed.packages] == [
        ("hello", "2.12", True),
        ("jq", "1.7.1", True),
    ]
    closure = await stub.GetClosure(pb.GetClosureRequest(target="hello"))
    assert [path.name for path in closure.paths] == ["libgreet", "hello"]
    assert closure.total_size == 6_000
    hello = closure.paths[closure.roots[0]]
    assert (hello.name, hello.closure_size, list(hello.references)) == ("hello", 6_000, [0])
    why = await stub.WhyDepends(pb.WhyDependsRequest(target="profile", dependency="libgreet"))
    assert [len(way.paths) for way in why.ways] == [3]
    library = closure.paths[0].path
    needing = await stub.WhatDependsOn(pb.WhatDependsOnRequest(target=library))
    assert list(needing.packages) == ["hello"]

    history = (await stub.ListHistory(pb.ListHistoryRequest())).generations
    assert [(g.number, g.packages, [c.name for c in g.changes]) for g in history] == [
        (2, 2, ["jq"]),
        (1, 1, ["hello"]),
    ]
    back = (await stub.RollbackProfile(pb.RollbackProfileRequest())).generation
    assert (back.number, back.current) == (1, True)
    assert await refused(stub.RollbackProfile(pb.RollbackProfileRequest(generation=9))) == "NOT_FOUND"
    upgraded = await result(stub.UpgradePackages(pb.UpgradePackagesRequest()))
    assert (list(upgraded.changes), upgraded.generation) == ([], 1)


async def test_the_store(channel: grpc.aio.Channel, stub: Any) -> None:
    await install(channel, "hello")
    dry = await result(stub.CollectGarbage(pb.CollectGarbageRequest(dry_run=True, older_than_days=0)))
    assert (list(dry.paths), dry.bytes) == ([], 0)
    assert [root.kept for root in dry.roots] == [True]
    assert (await result(stub.CollectGarbage(pb.CollectGarbageRequest()))).bytes == 0
    verified = await result(stub.VerifyStore(pb.VerifyStoreRequest()))
    assert (verified.checked, list(verified.damaged)) == (3, [])
    assert (await result(stub.OptimiseStore(pb.OptimiseStoreRequest()))).files == 0
    caches = await stub.GetCacheStatistics(pb.GetCacheStatisticsRequest(urls=["https://x.example"]))
    assert [(cache.available, cache.error) for cache in caches.caches] == [(False, "does not answer")]


async def test_without_a_store_of_its_own_a_confined_service_installs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NIX_STORE_DIR", raising=False)
    monkeypatch.delenv("NCC_PACKAGES_DRIVER", raising=False)
    (tmp_path / "root").mkdir()
    async with (
        serve_service("packages", create, tmp_path / "p.sock", state_dir=tmp_path, root=tmp_path / "root"),
        aio_channel(tmp_path / "p.sock") as opened,
    ):
        manager = manager_pb2_grpc.ManagerServiceStub(opened)
        kinds = (await manager.Describe(manager_pb2.DescribeRequest())).kinds
        why = next(kind.unsupported for kind in kinds if kind.kind == "Package")
        assert "confined" in why or "not installed" in why
        stub: Any = packages_service_pb2_grpc.PackagesServiceStub(opened)
        assert await refused(stub.GetClosure(pb.GetClosureRequest(target="/etc"))) == "UNIMPLEMENTED"
        assert (await stub.ListInstalled(pb.ListInstalledRequest())).packages == []
    assert not (tmp_path / "root/nix").exists(), "nothing was made"
