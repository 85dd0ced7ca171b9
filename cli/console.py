"""A machine's serial console on this terminal: bytes both ways, Ctrl-] ends it."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc

from cli.client import Client
from common.errors import from_rpc_error

_ESCAPE = b"\x1d"


def attach(client: Client, stub: Any, name: str, *, force: bool) -> int:
    """Connects standard input and output until Ctrl-], the end of input, or the machine's end."""
    from nixcc.vm.v1 import vm_service_pb2 as pb

    typed: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def requests() -> Iterator[Any]:
        yield pb.OpenConsoleRequest(vm=name, force=force)
        while (data := typed.get()) is not None:
            yield pb.OpenConsoleRequest(input=data)

    call = stub.OpenConsole(requests())
    terminal = sys.stdin.isatty()

    def read() -> None:
        while data := os.read(0, 4_096):
            before, escape, _ = data.partition(_ESCAPE) if terminal else (data, b"", b"")
            if before:
                typed.put(before)
            if escape:
                break
        else:
            return  # the end of a pipe: the machine may still have something to say
        call.cancel()

    with _raw(terminal):
        try:
            started = False
            for response in call:
                if not started:
                    started = True
                    if terminal:
                        sys.stderr.write(f"connected to {name}; Ctrl-] ends it\r\n")
                    threading.Thread(target=read, daemon=True).start()
                os.write(1, response.output)
        except grpc.RpcError as error:
            code: Any = error
            if code.code() is not grpc.StatusCode.CANCELLED:
                raise from_rpc_error(error) from None
        finally:
            typed.put(None)
    return 0


@contextlib.contextmanager
def _raw(terminal: bool) -> Iterator[None]:
    """Passes every key on as it is typed; puts the terminal back afterwards."""
    if not terminal:
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
