"""Asks the reconciler, over its socket, what of the homelab is declared: this service itself keeps no store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import ControlError, HostUnavailable, InvalidRequest, from_rpc_error
from nixcc.homelab.v1 import backup_pb2, container_pb2, stack_pb2
from services.homelab.models import Declared, UpdatePolicy, Updates

_POLICIES = {
    container_pb2.UPDATE_POLICY_NOTIFY: UpdatePolicy.NOTIFY,
    container_pb2.UPDATE_POLICY_AUTO: UpdatePolicy.AUTO,
}
# Seconds.
_PATIENCE = 10.0


class StateDeclared:
    """What is declared now. `socket` is the control plane's own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def read(self) -> Declared:
        """HostUnavailable where it can't be told: then nothing may be taken for undeclared."""
        import grpc

        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", 64 * 1024 * 1024)]
        with grpc.insecure_channel(f"unix:{self._socket}", options=options) as channel:
            try:
                return _declared(channel)
            except ControlError as error:
                raise HostUnavailable(
                    f"what is declared can't be read at {self._socket}: {error.message}",
                    next_step="run the reconciler (ncc serve), or name its socket in NCC_HOMELAB_NIXCC_SOCKET",
                ) from error


def _declared(channel: Any) -> Declared:
    found = _Names()
    for resource in _resources(channel, "Container"):
        found.container(resource.metadata.key, container_pb2.Container.FromString(resource.spec.value))
    for resource in _resources(channel, "Stack"):
        found.stacks.add(resource.metadata.key)
        stack = stack_pb2.Stack.FromString(resource.spec.value)
        for one in stack.containers:
            found.container(one.name, one.spec)
        found.networks.update(network.name for network in stack.networks)
        found.volumes.update(volume.name for volume in stack.volumes)
    for kind, names in (
        ("Image", found.images),
        ("ContainerNetwork", found.networks),
        ("ContainerVolume", found.volumes),
    ):
        names.update(resource.metadata.key for resource in _resources(channel, kind))
    for resource in _resources(channel, "BackupJob"):
        found.volumes.update(backup_pb2.BackupJob.FromString(resource.spec.value).volumes)
    return found.declared()


def _resources(channel: Any, kind: str) -> Iterator[Any]:
    """All of a kind, those included that are being deleted; none where no service has the kind."""
    import grpc

    from nixcc.state.v1 import state_pb2, state_pb2_grpc

    stub = state_pb2_grpc.StateServiceStub(channel)
    request = state_pb2.ListRequest(kind=kind, page_size=1_000)
    while True:
        try:
            response = stub.List(request, timeout=_PATIENCE)
        except grpc.RpcError as raised:
            error = from_rpc_error(raised)
            if isinstance(error, InvalidRequest):
                return  # every service was seen, and none has the kind
            raise error from raised
        yield from response.resources
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


class _Names:
    def __init__(self) -> None:
        self.containers: set[str] = set()
        self.stacks: set[str] = set()
        self.images: set[str] = set()
        self.networks: set[str] = set()
        self.volumes: set[str] = set()
        self.updates: dict[str, Updates] = {}

    def container(self, name: str, spec: container_pb2.Container) -> None:
        self.containers.add(name)
        self.updates[name] = Updates(_POLICIES.get(spec.update, UpdatePolicy.NEVER), spec.credentials_file)
        self.images.add(spec.image)
        self.networks.update(attachment.network for attachment in spec.networks)
        self.volumes.update(
            mount.source for mount in spec.mounts if mount.type != container_pb2.MOUNT_TYPE_BIND
        )

    def declared(self) -> Declared:
        return Declared(
            containers=frozenset(self.containers),
            stacks=frozenset(self.stacks),
            images=frozenset(self.images),
            networks=frozenset(self.networks),
            volumes=frozenset(self.volumes),
            updates=self.updates,
        )
