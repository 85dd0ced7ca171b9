"""nixcc.system.v1.SystemService: protobuf <-> models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from common.errors import InvalidRequest, Violation
from common.manager import Context
from nixcc.system.v1 import system_pb2 as pb
from nixcc.system.v1 import system_pb2_grpc
from services.system import service
from services.system.drivers.base import HostDriver
from services.system.models import Facts, FileSystem, Pressure, Problem, Vitals

NAME = "nixcc.system.v1.SystemService"

_INTERVAL = 5.0
_SHORTEST, _LONGEST = 0.2, 3600.0


class SystemServicer(system_pb2_grpc.SystemServiceServicer):
    """The domain rpcs; what blocks runs in the service's executor."""

    def __init__(self, context: Context, host: HostDriver) -> None:
        self._context, self._host = context, host

    async def GetHostFacts(self, request: pb.GetHostFactsRequest, context: Any) -> pb.GetHostFactsResponse:
        facts = await self._context.run(self._host.facts)
        return pb.GetHostFactsResponse(facts=_facts(facts, str(self._context.root)))

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        return pb.GetHealthResponse(health=_health(await self._context.run(self._host.vitals)))

    async def WatchHealth(
        self, request: pb.WatchHealthRequest, context: Any
    ) -> AsyncIterator[pb.WatchHealthResponse]:
        seconds = request.interval.ToNanoseconds() / 1e9 if request.HasField("interval") else _INTERVAL
        if not _SHORTEST <= seconds <= _LONGEST:
            text = f"must be from {_SHORTEST} s to {_LONGEST:.0f} s"
            raise InvalidRequest(f"interval {text}", [Violation("interval", text)])
        while True:
            yield pb.WatchHealthResponse(health=_health(await self._context.run(self._host.vitals)))
            await asyncio.sleep(seconds)

    async def CheckReboot(self, request: pb.CheckRebootRequest, context: Any) -> pb.CheckRebootResponse:
        state = await self._context.run(self._host.reboot_state)
        reasons = service.reboot_reasons(state, await self._context.run(self._host.facts))
        return pb.CheckRebootResponse(
            required=bool(reasons),
            reasons=reasons,
            running_kernel=state.running_kernel,
            installed_kernel=state.installed_kernel,
        )


def _facts(facts: Facts, root: str) -> pb.HostFacts:
    message = pb.HostFacts(
        hostname=facts.hostname,
        os=facts.os,
        os_version=facts.os_version,
        os_name=facts.os_name,
        kernel=facts.kernel,
        architecture=facts.architecture,
        machine_id=facts.machine_id,
        boot_id=facts.boot_id,
        processors=facts.processors,
        memory_bytes=facts.memory,
        init=facts.init,
        nixos=facts.nixos,
        current_system=facts.current_system,
        generation=facts.generation,
        root=root,
    )
    if facts.boot_time:
        message.boot_time.FromNanoseconds(int(facts.boot_time * 1e9))
    return message


def _health(vitals: Vitals) -> pb.Health:
    one, five, fifteen = vitals.load
    health = pb.Health(
        load=pb.Load(one=one, five=five, fifteen=fifteen, processors=vitals.processors),
        pressures=[_pressure(pressure) for pressure in vitals.pressures],
        memory=pb.Memory(
            total=vitals.memory_total,
            available=vitals.memory_available,
            swap_total=vitals.swap_total,
            swap_free=vitals.swap_free,
        ),
        file_systems=[_file_system(disk) for disk in vitals.file_systems],
        failed_units=vitals.failed_units,
        problems=[_problem(problem) for problem in service.problems(vitals)],
        unknown=vitals.unknown,
    )
    health.time.FromNanoseconds(int(vitals.time * 1e9))
    return health


def _pressure(pressure: Pressure) -> pb.Pressure:
    return pb.Pressure(
        resource=pressure.resource,
        some_10=pressure.some[0],
        some_60=pressure.some[1],
        some_300=pressure.some[2],
        full_10=pressure.full[0],
        full_60=pressure.full[1],
        full_300=pressure.full[2],
    )


def _file_system(disk: FileSystem) -> pb.FileSystem:
    return pb.FileSystem(
        mount_point=disk.mount_point,
        source=disk.source,
        type=disk.type,
        total_bytes=disk.total,
        available_bytes=disk.available,
        total_inodes=disk.inodes,
        free_inodes=disk.free_inodes,
        read_only=disk.read_only,
    )


def _problem(problem: Problem) -> pb.Problem:
    severity = pb.SEVERITY_CRITICAL if problem.critical else pb.SEVERITY_WARNING
    return pb.Problem(severity=severity, subject=problem.subject, message=problem.message)
