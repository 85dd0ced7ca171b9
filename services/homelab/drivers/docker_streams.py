"""Output of containers as the engine frames it, and programs that run in them."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

from common.errors import ControlError, HostUnavailable, WrongState
from services.homelab.drivers import host_processes
from services.homelab.drivers.base import LogLine
from services.homelab.drivers.docker_calls import Calls

_HEADER = struct.Struct(">BxxxL")
# Seconds to ask whether a program still runs.
_LAST_WORD = 3.0
# A line longer than this is given in parts.
_LONGEST = 1 << 20
# Seconds that an engine may need to tell of an end, after the last output; and between looks.
_ENDING, _LOOK = 5.0, 0.05


def frames(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The stream (1 output, 2 error) and the bytes of each frame, as far as it has come."""
    buffer = bytearray()
    stream, left = 0, 0
    for piece in pieces:
        buffer += piece
        while buffer:
            if left == 0:
                if len(buffer) < _HEADER.size:
                    break
                stream, left = _HEADER.unpack_from(buffer)
                del buffer[: _HEADER.size]
                continue
            part = bytes(buffer[:left])
            del buffer[: len(part)]
            left -= len(part)
            yield stream, part


def messages(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The stream and the bytes of each frame, whole: what an engine logs at once, which begins with its time."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        while len(buffer) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(buffer)
            if len(buffer) < _HEADER.size + length:
                break
            yield stream, bytes(buffer[_HEADER.size : _HEADER.size + length])
            del buffer[: _HEADER.size + length]


def lines(told: Iterable[tuple[int, bytes]]) -> Iterator[LogLine]:
    """Lines out of messages. One longer than 16 KiB comes in several, each with a time of its own."""
    kept: dict[int, tuple[datetime, bytes]] = {}
    for stream, data in told:
        while data:
            begun = kept.pop(stream, None)
            when, text = _timed(data)
            if begun is not None:
                when, text = begun[0], begun[1] + text
            line, end, data = text.partition(b"\n")
            if end or len(line) > _LONGEST:
                yield _line(stream, when, line)
            elif line:
                kept[stream] = when, line
    for stream, (when, rest) in kept.items():
        yield _line(stream, when, rest)


def terminal_lines(pieces: Iterable[bytes]) -> Iterator[LogLine]:
    """Lines of a container with a terminal, whose output has no frames; each begins with its time."""
    kept = b""
    for piece in pieces:
        *whole, kept = (kept + piece).split(b"\n")
        if len(kept) > _LONGEST:
            whole, kept = [*whole, kept], b""
        for line in whole:
            yield _line(1, *_timed(line))
    if kept:
        yield _line(1, *_timed(kept))


def moment(text: str) -> datetime:
    """A time as the engine writes it, with nanoseconds."""
    head, _, fraction = text.rstrip("Z").partition(".")
    digits = "".join(char for char in fraction[:9] if char.isdigit())
    return datetime.fromisoformat(f"{head}.{(digits + '000000')[:6]}+00:00")


def _timed(data: bytes) -> tuple[datetime, bytes]:
    """The time that an engine's message begins with, and the rest."""
    time, _, text = data.partition(b" ")
    try:
        return moment(time.decode()), text
    except ValueError:
        return datetime.now(UTC), data


def _line(stream: int, when: datetime, text: bytes) -> LogLine:
    return LogLine(when, stream == 2, text.removesuffix(b"\r"))


class DockerExec:
    """See ExecSession. One thread reads, another may write."""

    def __init__(self, calls: Calls, id: str, tty: bool) -> None:
        self._calls = calls
        self._id = id
        self._closed = threading.Event()
        self._socket, rest = calls.hijack("/exec/{0}/start", id, body={"Detach": False, "Tty": tty})
        self._parts = ((1, data) for data in self._pieces(rest)) if tty else frames(self._pieces(rest))

    def read(self) -> tuple[int, bytes] | None:
        """See ExecSession."""
        return next(self._parts, None)

    def write(self, data: bytes) -> None:
        """See ExecSession."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise WrongState("the program has ended") from error

    def end_input(self) -> None:
        """See ExecSession."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        """See ExecSession."""
        size = {"h": rows, "w": columns}
        self._calls.request("POST", "/exec/{0}/resize", self._id, params=size)

    def exit_code(self) -> int:
        """See ExecSession."""
        deadline = time.monotonic() + _ENDING
        while (told := self._calls.json("GET", "/exec/{0}/json", self._id)).get("Running"):
            if time.monotonic() > deadline:
                raise HostUnavailable(
                    "the connection to the program broke, and it runs on",
                    next_step="see what it does: ncc homelab top",
                )
            time.sleep(_LOOK)  # no event tells of the code, which may come after the output's end
        return int(told.get("ExitCode") or 0)

    def close(self) -> None:
        """See ExecSession."""
        self._closed.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._hang_up()

    def _hang_up(self) -> None:
        """Who left takes the program along, as a terminal does: engines let it run on."""
        try:
            told = self._calls.json("GET", "/exec/{0}/json", self._id, timeout=_LAST_WORD)
        except ControlError:
            return
        if told.get("Running") and int(told.get("Pid") or 0) > 1:
            host_processes.hang_up(int(told["Pid"]), str(told.get("ContainerID") or ""))

    def _pieces(self, rest: bytes) -> Iterator[bytes]:
        if rest:
            yield rest
        while not self._closed.is_set():
            try:
                data = self._socket.recv(65_536)
            except OSError:
                return
            if not data:
                return
            yield data
