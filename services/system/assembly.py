"""Puts the service together: drivers, kinds and rpcs."""

from __future__ import annotations

from common.manager import Context, Service
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.kinds.file import FileKind


def assemble(context: Context) -> Service:
    """All kinds; those that this host or a confined root can't have say so themselves."""
    if context.confined:
        context.root.mkdir(parents=True, exist_ok=True)
    files = LinuxFileDriver(context.root)
    return Service(
        name="system",
        kinds=(FileKind(files),),
        driver="linux",
        register=lambda server: None,
        rpc_services=(),
        capabilities=("inotify",),
        close=files.close,
    )
