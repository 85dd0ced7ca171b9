"""ncc homelab exec web -- sh               with a terminal where this is one
ncc homelab exec db -- pg_dump app > app.sql
ncc homelab exec db -- psql app < app.sql
tar -c . | ncc homelab exec web -- tar -x -C /data
Its exit code becomes ours. -T: never a terminal; -n: it gets no input.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from cli.client import connect
from cli.homelab.service import stub
from common.errors import HostUnavailable, InvalidRequest, from_rpc_error

_CHUNK = 64 * 1024


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-T", "--no-tty", action="store_true", help="without a terminal, even if this is one")
    parser.add_argument("-n", "--no-input", action="store_true", help="don't read our standard input")
    parser.add_argument("-u", "--user", default="", help="as whom: user, 1000, or 1000:1000")
    parser.add_argument("-w", "--workdir", default="", metavar="FOLDER", help="in which folder")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER)


def run(args: argparse.Namespace) -> int:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise InvalidRequest("which program?", next_step=f"ncc homelab exec {args.name} -- sh")
    client = connect(args)
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not args.no_tty
    start = pb.ExecStart(
        container=args.name, command=command, tty=terminal, user=args.user, working_dir=args.workdir
    )
    typed: queue.SimpleQueue[Any] = queue.SimpleQueue()
    requests = _typed(start, typed) if terminal else _piped(start, args.no_input)
    call = stub(client).Exec(requests)
    with _raw(typed) if terminal else contextlib.nullcontext():
        try:
            return _talk(call, typed if terminal else None)
        finally:
            typed.put(None)
            call.cancel()


def _talk(call: Any, typed: queue.SimpleQueue[Any] | None) -> int:
    """Writes what the program says; its exit code."""
    import grpc

    if typed is not None:
        threading.Thread(target=_read_keys, args=(typed,), daemon=True).start()
    try:
        for response in call:
            event = response.WhichOneof("event")
            if event == "exit_code":
                return int(response.exit_code)
            _write(1 if event == "stdout" else 2, getattr(response, event))
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
    raise HostUnavailable("the program's output ended without its exit code", next_step="run it again")


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _piped(start: Any, no_input: bool) -> Iterator[Any]:
    """Our standard input, read as fast as it is taken."""
    from nixcc.homelab.v1 import homelab_pb2 as pb

    yield pb.ExecRequest(start=start)
    if no_input:
        return
    with contextlib.suppress(OSError):  # closed: as if it had ended
        while data := os.read(0, _CHUNK):
            yield pb.ExecRequest(input=data)


def _typed(start: Any, typed: queue.SimpleQueue[Any]) -> Iterator[Any]:
    """The terminal's size, then what is typed and how the size changes."""
    yield from _first(start)
    while (event := typed.get()) is not None:
        yield event


def _first(start: Any) -> Iterator[Any]:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    yield pb.ExecRequest(start=start)
    yield _size()


def _size() -> Any:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    size = os.get_terminal_size(0)
    return pb.ExecRequest(resize=pb.TerminalSize(rows=size.lines, columns=size.columns))


def _read_keys(typed: queue.SimpleQueue[Any]) -> None:
    from nixcc.homelab.v1 import homelab_pb2 as pb

    with contextlib.suppress(OSError):  # the terminal is gone
        while data := os.read(0, 4_096):
            typed.put(pb.ExecRequest(input=data))
    typed.put(None)


@contextlib.contextmanager
def _raw(typed: queue.SimpleQueue[Any]) -> Iterator[None]:
    """Passes every key on as it is typed, and tells of a changed size; puts the terminal back afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(0)
    handler = signal.signal(signal.SIGWINCH, lambda *_: typed.put(_size()))
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)
