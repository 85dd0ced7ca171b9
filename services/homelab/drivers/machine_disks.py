"""Copies of virtual machines' disks, from the vm service over its socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import Cancelled, ControlError, HostUnavailable, from_rpc_error
from services.homelab.drivers.base import Report

# Seconds.
_LONGEST = 12 * 3_600.0
_PATIENCE = 60.0


class MachineDisks:
    """`socket` is the vm service's."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def copy(self, name: str, report: Report, cancel: threading.Event) -> Sequence[str]:
        """The copies' paths. NotFound, Unsupported; HostUnavailable where the service doesn't answer."""
        from nixcc.vm.v1 import vm_service_pb2 as pb

        found: list[str] = []
        with self._called() as stub:
            call = stub.CopyDisks(pb.CopyDisksRequest(vm=name), timeout=_LONGEST)
            for event in call:
                if cancel.is_set():
                    call.cancel()
                    raise Cancelled(f"copying the disks of {name} was cancelled")
                if event.HasField("progress"):
                    percent = event.progress.percent if event.progress.HasField("percent") else None
                    report(event.progress.message, percent)
                found += [disk.path for disk in event.result.disks]
        return found

    def remove(self, name: str) -> None:
        """Deletes them; gone already is fine."""
        from nixcc.vm.v1 import vm_service_pb2 as pb

        with self._called() as stub:
            stub.DeleteDiskCopies(pb.DeleteDiskCopiesRequest(vm=name), timeout=_PATIENCE)

    @contextmanager
    def _called(self) -> Iterator[Any]:
        import grpc

        from nixcc.vm.v1 import vm_service_pb2_grpc

        with grpc.insecure_channel(
            f"unix:{self._socket}", options=[("grpc.enable_http_proxy", 0)]
        ) as channel:
            try:
                yield vm_service_pb2_grpc.VmServiceStub(channel)
            except grpc.RpcError as raised:
                raise _named(from_rpc_error(raised)) from raised


def _named(error: ControlError) -> ControlError:
    if isinstance(error, HostUnavailable):
        return HostUnavailable(
            f"disks of virtual machines can't be copied: {error.message}",
            next_step="see whether the vm service runs (ncc doctor)",
        )
    return error
