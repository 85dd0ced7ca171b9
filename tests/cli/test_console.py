"""A console on a terminal and in a pipe, over a real connection to somebody who answers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from nixcc.vm.v1 import vm_service_pb2 as pb
from nixcc.vm.v1 import vm_service_pb2_grpc

CLIENT = """
import sys
from cli.client import Client
from cli.console import attach
from common.errors import ControlError
from nixcc.vm.v1 import vm_service_pb2_grpc
client = Client(sys.argv[1])
try:
    sys.exit(attach(client, vm_service_pb2_grpc.VmServiceStub(client.channel), sys.argv[2], force=False))
except ControlError as error:
    sys.stderr.write(f"{type(error).__name__}: {error}")
    sys.exit(1)
"""


class Machine(vm_service_pb2_grpc.VmServiceServicer):
    """Says what it hears, in capitals, until it hears `bye`."""

    def OpenConsole(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests)
        if first.vm != "web":
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no machine {first.vm}")
        yield pb.OpenConsoleResponse()
        yield pb.OpenConsoleResponse(output=b"login: ")
        for request in requests:
            yield pb.OpenConsoleResponse(output=request.input.upper())
            if b"bye" in request.input:
                return


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    vm_service_pb2_grpc.add_VmServiceServicer_to_server(Machine(), server)
    path = str(tmp_path / "s.sock")
    server.add_insecure_port(f"unix:{path}")
    server.start()
    yield path
    server.stop(None).wait()


def test_a_pipe_goes_through_as_it_is(socket: str) -> None:
    argv = [sys.executable, "-c", CLIENT, socket, "web"]
    done = subprocess.run(argv, input=b"hello\x1d bye\n", capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"login: HELLO\x1d BYE\n", b"")


def test_a_machine_that_there_is_not(socket: str) -> None:
    argv = [sys.executable, "-c", CLIENT, socket, "db"]
    done = subprocess.run(argv, input=b"", capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert b"NotFound: there is no machine db" in done.stderr


@pytest.fixture
def terminal(socket: str) -> Iterator[tuple[int, int, Callable[[bytes], None]]]:
    child, handle = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", CLIENT, socket, "web"])
    seen = b""

    def expect(wanted: bytes) -> None:
        nonlocal seen
        while wanted not in seen:
            seen += os.read(handle, 4_096)

    yield child, handle, expect
    os.close(handle)


@pytest.mark.timeout(60)
def test_keys_go_one_by_one_and_a_key_ends_it(terminal: tuple[int, int, Callable[[bytes], None]]) -> None:
    child, handle, expect = terminal
    expect(b"connected to web; Ctrl-] ends it")
    expect(b"login: ")
    os.write(handle, b"a")
    expect(b"A")
    os.write(handle, b"\x03b")
    expect(b"\x03B")
    os.write(handle, b"\x1d")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.timeout(60)
def test_it_ends_with_the_machine(terminal: tuple[int, int, Callable[[bytes], None]]) -> None:
    child, handle, expect = terminal
    expect(b"login: ")
    os.write(handle, b"bye")
    expect(b"BYE")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
