"""Puts the service together: the engine and the rpcs."""

from __future__ import annotations

from pathlib import Path

from common.manager import Context, Service
from nixcc.homelab.v1 import homelab_pb2_grpc
from services.homelab.drivers.declared import StateDeclared
from services.homelab.drivers.docker import DockerEngine
from services.homelab.rpc import NAME, HomelabServicer
from services.homelab.service import HomelabService

# Where engines listen; the first that is there is taken.
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")


def assemble(context: Context) -> Service:
    """Setting `engine`: the engine's address (`unix:///…`); by default docker's socket, or else podman's."""
    engine = DockerEngine(context.settings.get("engine") or _address(context))
    servicer = HomelabServicer(HomelabService(engine, StateDeclared(context.peer("nixcc")).read), context)
    return Service(
        name="homelab",
        kinds=(),
        driver=engine.name,
        register=lambda server: homelab_pb2_grpc.add_HomelabServiceServicer_to_server(servicer, server),
        rpc_services=(NAME,),
        capabilities=engine.capabilities,
        close=engine.close,
    )


def _address(context: Context) -> str:
    """A sandbox never touches the host's own engine."""
    if context.confined:
        return f"unix://{context.root}{_SOCKETS[0]}"
    return f"unix://{next((path for path in _SOCKETS if Path(path).exists()), _SOCKETS[0])}"
