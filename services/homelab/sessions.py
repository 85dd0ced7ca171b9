"""A program in a container and a client, talking: input in, output and at last the exit code out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common.errors import ControlError, InvalidRequest, Violation
from common.manager import Context
from nixcc.homelab.v1 import homelab_pb2 as pb
from services.homelab.drivers.base import ExecSession
from services.homelab.feed import Feed
from services.homelab.models import Program

_LARGEST_TERMINAL = 10_000

# A stream and its bytes, or the exit code.
_Output = tuple[int, bytes] | int


def program(start: pb.ExecStart) -> Program:
    """What a client asks to be run."""
    if start.working_dir and not start.working_dir.startswith("/"):
        raise InvalidRequest(
            "the folder must have a whole path", [Violation("start.working_dir", "must begin with '/'")]
        )
    return Program(start.container, tuple(start.command), start.tty, start.user, start.working_dir)


class Session:
    """One talk. Two threads: one reads what the program says, one writes what it is told."""

    def __init__(self, session: ExecSession, context: Context, behind: int) -> None:
        self._session = session
        self._context = context
        self._feed: Feed[_Output] = Feed(behind, _weight)
        # Its own: a program that reads nothing must not hold the service's.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="exec-input")
        self._typing: asyncio.Task[None] | None = None

    async def talk(self, requests: AsyncIterator[pb.ExecRequest]) -> AsyncIterator[pb.ExecResponse]:
        """Passes on both ways until the program ends."""
        self._feed.start("exec-output", self._read)
        self._typing = asyncio.create_task(self._type(requests))
        while batch := await self._feed.batch():
            for output in batch:
                yield _response(output)

    async def close(self) -> None:
        """Lets go of the program, and ends both threads."""
        if self._typing is not None:
            self._typing.cancel()
        await self._context.run(self._session.close)
        self._writer.shutdown(wait=False, cancel_futures=True)
        await self._feed.close()

    def _read(self) -> None:
        while (output := self._session.read()) is not None:
            self._feed.put(output)
        if not self._feed.stop.is_set():
            self._feed.put(self._session.exit_code())

    async def _type(self, requests: AsyncIterator[pb.ExecRequest]) -> None:
        """Gives the program what the client sends, in order. Its end is told by the output, whatever happens here."""
        try:
            async for request in requests:
                event = request.WhichOneof("event")
                if event == "input" and request.input:
                    await self._write(self._session.write, request.input)
                elif event == "resize":
                    size = request.resize
                    if 0 < size.rows <= _LARGEST_TERMINAL and 0 < size.columns <= _LARGEST_TERMINAL:
                        await self._context.run(self._session.resize, size.rows, size.columns)
            await self._write(self._session.end_input)
        except ControlError:
            return  # it has ended already, or the engine has

    async def _write(self, function: Callable[..., None], *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, function, *arguments)


def _weight(output: _Output) -> int:
    return 1 if isinstance(output, int) else max(1, len(output[1]))


def _response(output: _Output) -> pb.ExecResponse:
    if isinstance(output, int):
        return pb.ExecResponse(exit_code=output)
    stream, data = output
    return pb.ExecResponse(stderr=data) if stream == 2 else pb.ExecResponse(stdout=data)
