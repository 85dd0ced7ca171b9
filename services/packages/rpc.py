"""nixcc.packages.v1.PackagesService: protobuf <-> models, and blocking calls in the executor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from common.manager import Context
from common.progress import progress
from nixcc.packages.v1 import packages_service_pb2 as pb
from nixcc.packages.v1 import packages_service_pb2_grpc
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.messages import (
    cache_message,
    closure_message,
    collected_message,
    delta_message,
    generation_message,
    index_message,
    installed_message,
    package_message,
    store_path_message,
    verified_message,
    version_message,
)
from services.packages.service import PackagesService

NAME = "nixcc.packages.v1.PackagesService"


class PackagesServicer(packages_service_pb2_grpc.PackagesServiceServicer):
    """The domain rpcs. What only reads has threads of its own: builds may keep all others for hours."""

    def __init__(self, service: PackagesService, context: Context, reads: Context) -> None:
        self._service, self._context, self._reads = service, context, reads

    async def Search(self, request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        found, info, more = await self._reads.run(
            self._service.search,
            *(request.flake, request.query, request.limit, request.usable_only, request.platform),
        )
        return pb.SearchResponse(packages=map(package_message, found), index=index_message(info), more=more)

    async def GetPackage(self, request: pb.GetPackageRequest, context: Any) -> pb.GetPackageResponse:
        meta, info, installed = await self._reads.run(self._service.package, request.flake, request.attribute)
        return pb.GetPackageResponse(
            package=package_message(meta),
            index=index_message(info),
            installed=map(installed_message, installed),
        )

    async def ListVersions(self, request: pb.ListVersionsRequest, context: Any) -> pb.ListVersionsResponse:
        found = await self._reads.run(self._service.versions, request.flake, request.attribute)
        return pb.ListVersionsResponse(versions=map(version_message, found))

    async def RefreshIndex(
        self, request: pb.RefreshIndexRequest, context: Any
    ) -> AsyncIterator[pb.RefreshIndexResponse]:
        async for event in progress(
            self._context,
            lambda tell, cancel: self._service.refresh(
                request.flake, request.file, request.force, tell, cancel
            ),
        ):
            if isinstance(event, Progress):
                yield pb.RefreshIndexResponse(progress=event)
            else:
                result = pb.RefreshedIndex(index=index_message(event[0]), changed=event[1])
                yield pb.RefreshIndexResponse(result=result)

    async def ListIndexes(self, request: pb.ListIndexesRequest, context: Any) -> pb.ListIndexesResponse:
        found = await self._reads.run(self._service.indexes)
        return pb.ListIndexesResponse(indexes=map(index_message, found))

    async def ListInstalled(self, request: pb.ListInstalledRequest, context: Any) -> pb.ListInstalledResponse:
        found, profile = await self._reads.run(self._service.installed)
        return pb.ListInstalledResponse(packages=map(installed_message, found), profile=profile)

    async def WhatDependsOn(self, request: pb.WhatDependsOnRequest, context: Any) -> pb.WhatDependsOnResponse:
        paths, names = await self._reads.run(self._service.dependants, request.target, request.indirect)
        return pb.WhatDependsOnResponse(paths=map(store_path_message, paths), packages=names)

    async def GetClosure(self, request: pb.GetClosureRequest, context: Any) -> pb.GetClosureResponse:
        return closure_message(await self._reads.run(self._service.closure, request.target))

    async def WhyDepends(self, request: pb.WhyDependsRequest, context: Any) -> pb.WhyDependsResponse:
        ways = await self._reads.run(self._service.why, request.target, request.dependency)
        return pb.WhyDependsResponse(ways=[pb.DependencyWay(paths=way) for way in ways])

    async def ListHistory(self, request: pb.ListHistoryRequest, context: Any) -> pb.ListHistoryResponse:
        rows = await self._reads.run(self._service.history)
        return pb.ListHistoryResponse(generations=[generation_message(*row) for row in rows])

    async def RollbackProfile(
        self, request: pb.RollbackProfileRequest, context: Any
    ) -> pb.RollbackProfileResponse:
        row = await self._reads.run(self._service.rollback, request.generation)
        return pb.RollbackProfileResponse(generation=generation_message(*row))

    async def UpgradePackages(
        self, request: pb.UpgradePackagesRequest, context: Any
    ) -> AsyncIterator[pb.UpgradePackagesResponse]:
        async for event in progress(
            self._context, lambda tell, cancel: self._service.upgrade(list(request.names), tell, cancel)
        ):
            if isinstance(event, Progress):
                yield pb.UpgradePackagesResponse(progress=event)
            else:
                changes, generation = event
                result = pb.UpgradedPackages(changes=map(delta_message, changes), generation=generation)
                yield pb.UpgradePackagesResponse(result=result)

    async def CollectGarbage(
        self, request: pb.CollectGarbageRequest, context: Any
    ) -> AsyncIterator[pb.CollectGarbageResponse]:
        days = request.older_than_days if request.HasField("older_than_days") else None
        async for event in progress(
            self._context,
            lambda tell, cancel: self._service.collect(
                request.dry_run, days, request.max_bytes, tell, cancel
            ),
        ):
            if isinstance(event, Progress):
                yield pb.CollectGarbageResponse(progress=event)
            else:
                yield pb.CollectGarbageResponse(result=collected_message(event))

    async def VerifyStore(
        self, request: pb.VerifyStoreRequest, context: Any
    ) -> AsyncIterator[pb.VerifyStoreResponse]:
        async for event in progress(
            self._context, lambda tell, cancel: self._service.verify(request.repair, tell, cancel)
        ):
            if isinstance(event, Progress):
                yield pb.VerifyStoreResponse(progress=event)
            else:
                yield pb.VerifyStoreResponse(result=verified_message(event))

    async def OptimiseStore(
        self, request: pb.OptimiseStoreRequest, context: Any
    ) -> AsyncIterator[pb.OptimiseStoreResponse]:
        async for event in progress(self._context, self._service.optimise):
            if isinstance(event, Progress):
                yield pb.OptimiseStoreResponse(progress=event)
            else:
                yield pb.OptimiseStoreResponse(result=pb.OptimisedStore(files=event[0], bytes=event[1]))

    async def GetCacheStatistics(
        self, request: pb.GetCacheStatisticsRequest, context: Any
    ) -> pb.GetCacheStatisticsResponse:
        found = await self._reads.run(self._service.caches, list(request.urls))
        return pb.GetCacheStatisticsResponse(caches=map(cache_message, found))
