"""Shows what switching would change, and follows an operation with a bar."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from cli.output import GREEN, RED, YELLOW, paint, printable
from common.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.client import Client

_WIDTH = 24


def follow(client: Client, stub: Any, name: str, timeout: float) -> Any:
    """The operation when it has ended well, with a bar on a terminal; raises the error that it ended with."""
    from google.longrunning import operations_pb2 as lro

    from cli.operations import failure
    from nixcc.reconciler.v1 import reconciler_pb2

    live, deadline = sys.stderr.isatty(), time.monotonic() + timeout
    while True:
        request = lro.WaitOperationRequest(name=name)
        request.timeout.FromMilliseconds(500 if not live else 100)
        operation = client.call(stub.WaitOperation, request)
        if operation.done:
            break
        if live:
            metadata = reconciler_pb2.OperationMetadata()
            operation.metadata.Unpack(metadata)
            sys.stderr.write(f"\r\x1b[K{_bar(metadata.progress)}")
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"{name} still runs", next_step=f"ncc operation wait {name}")
    if live:
        sys.stderr.write("\r\x1b[K")
    if operation.HasField("error"):
        raise failure(operation)
    return operation


def _bar(progress: Any) -> str:
    message = printable(progress.message)[:50]
    if not progress.HasField("percent"):
        return message
    done = _WIDTH * progress.percent // 100
    return f"{'█' * done}{'·' * (_WIDTH - done)} {progress.percent:3} %  {message}"


def print_diff(found: Any) -> None:
    """For people: packages, sizes, units, restart, /boot."""
    for change in found.packages:
        old, new = ", ".join(change.old_versions), ", ".join(change.new_versions)
        name = printable(change.name)
        size = f"  {_signed(change.size_change)}" if change.size_change else ""
        if not old:
            print(paint(f"+ {name} {printable(new)}", GREEN) + size)
        elif not new:
            print(paint(f"- {name} {printable(old)}", RED) + size)
        else:
            print(paint(f"~ {name} {printable(old)} → {printable(new)}", YELLOW) + size)
    if found.old_toplevel == found.new_toplevel:
        print("the running system is this one")
    elif not found.packages:
        print("no package changes its version")
    if found.HasField("old_closure_bytes") and found.HasField("new_closure_bytes"):
        change = found.new_closure_bytes - found.old_closure_bytes
        print(f"closure  {_bytes(found.new_closure_bytes)} ({_signed(change)})")
    if found.HasField("units"):
        units = found.units
        _units("would stop", units.stop)
        _units("would restart", units.restart)
        _units("would start", units.start)
        _units("would reload", units.reload)
        _units("would leave as they are", units.keep)
        if units.systemd:
            print("would restart systemd itself")
    if found.HasField("boot_free_bytes"):
        needed, free = found.boot_needed_bytes, found.boot_free_bytes
        text = f"/boot    needs {_bytes(needed)}, has {_bytes(free)} free"
        print(paint(text, RED) if needed > free else text)
    for reason in found.reboot_reasons:
        print(paint(f"restart needed: {printable(reason)}", YELLOW))
    for reason in found.inhibitors:
        print(paint(f"can't be switched to while running: {printable(reason)}", RED))
    if found.specialisations:
        print(f"specialisations: {printable(', '.join(found.specialisations))}")


def _units(word: str, units: Sequence[str]) -> None:
    if units:
        print(f"{word}: {printable(', '.join(units))}")


def _bytes(count: int) -> str:
    size = float(abs(count))
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError(count)


def _signed(count: int) -> str:
    return ("-" if count < 0 else "+") + _bytes(count)
