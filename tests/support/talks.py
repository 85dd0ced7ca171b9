"""A service without kinds, whose domain rpcs talk: one answer, a stream, a long action, both ways at once.

Its proto is made here, so that no test service is in the product's API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from common.errors import Conflict, HostUnavailable, InvalidRequest, NotFound, Violation
from common.manager import Context, Service
from nixcc.resource.v1 import resource_pb2

Field = descriptor_pb2.FieldDescriptorProto
SERVICE = "nixcc.talks.v1.TalkService"


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="nixcc/talks/v1/talks.proto", package="nixcc.talks.v1", syntax="proto3"
    )
    file.dependency.append(resource_pb2.DESCRIPTOR.name)
    words = file.message_type.add(name="Words")
    words.field.add(name="text", number=1, type=Field.TYPE_STRING, label=1)
    words.field.add(name="times", number=2, type=Field.TYPE_INT64, label=1)
    step = file.message_type.add(name="Step")
    step.oneof_decl.add(name="event")
    progress = step.field.add(name="progress", number=1, type=Field.TYPE_MESSAGE, label=1, oneof_index=0)
    progress.type_name = ".nixcc.resource.v1.Progress"
    step.field.add(name="text", number=2, type=Field.TYPE_STRING, label=1, oneof_index=0)
    service = file.service.add(name="TalkService")
    for name, answer, asks, answers in (
        ("Say", "Words", False, False),
        ("Repeat", "Words", False, True),
        ("Sum", "Words", True, False),
        ("Chat", "Words", True, True),
        ("Work", "Step", False, True),
    ):
        service.method.add(
            name=name,
            input_type=".nixcc.talks.v1.Words",
            output_type=f".nixcc.talks.v1.{answer}",
            client_streaming=asks,
            server_streaming=answers,
        )
    return file


descriptor_pool.Default().Add(_file())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(f"nixcc.talks.v1.{name}")
    )


Words, Step = _class("Words"), _class("Step")

ERRORS: dict[str, Callable[[], Exception]] = {
    "missing": lambda: NotFound("nobody is there", next_step="call somebody"),
    "wrong": lambda: InvalidRequest("two are wrong", [Violation("a", "bad"), Violation("b[1]", "worse")]),
    "busy": lambda: HostUnavailable("the line is busy", retry_after=7.0),
    "bug": lambda: ZeroDivisionError("a bug"),
    "many": lambda: InvalidRequest("wrong", [Violation(f"field[{n}]", "x" * 200) for n in range(5_000)]),
}


class Talks:
    """What was said, who is on the line, and who hung up."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.metadata: list[dict[str, Any]] = []
        self.remaining: list[float | None] = []
        self.on_line = 0
        self.hung_up = 0
        # Work stops at each of its steps until this is set.
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def say(self, request: Any, context: Any) -> Any:
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.remaining.append(context.time_remaining())
        self.heard.append(request.text)
        if request.text in ERRORS:
            raise ERRORS[request.text]()
        if request.text == "wait":
            await self._forever()
        return Words(text=request.text * max(1, request.times))

    async def repeat(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for number in range(request.times):
            yield Words(text=request.text, times=number)
        if request.text in ERRORS:
            raise ERRORS[request.text]()
        if request.text == "wait":
            await self._forever()

    async def sum(self, requests: AsyncIterator[Any], context: Any) -> Any:
        total = 0
        async for request in requests:
            total += request.times
        return Words(times=total)

    async def chat(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        self.on_line += 1
        try:
            async for request in requests:
                if request.text == "bye":
                    return
                if request.text in ERRORS:
                    raise ERRORS[request.text]()
                yield Words(text=request.text.upper())
        finally:
            self.on_line -= 1
            self.hung_up += 1

    async def work(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.on_line += 1
        try:
            self.heard.append(request.text)
            for number in range(request.times):
                await self.go_on.wait()
                line = "x" * 5_000 if request.text == "long" else f"line {number}"
                step = Step()
                step.progress.message = f"step {number}"
                step.progress.percent = number
                step.progress.log_line = line
                yield step
            await self.go_on.wait()
            if request.text in ERRORS:
                raise ERRORS[request.text]()
            if request.text == "conflict":
                raise Conflict("somebody else")
            yield Step(text=f"{request.text} is done")
        finally:
            self.on_line -= 1
            self.hung_up += 1

    async def _forever(self) -> None:
        self.on_line += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.on_line -= 1
            self.hung_up += 1

    def register(self, server: grpc.aio.Server) -> None:
        def handler(make: Any, behaviour: Any, answer: Any = Words) -> Any:
            return make(behaviour, Words.FromString, answer.SerializeToString)

        handlers = {
            "Say": handler(grpc.unary_unary_rpc_method_handler, self.say),
            "Repeat": handler(grpc.unary_stream_rpc_method_handler, self.repeat),
            "Sum": handler(grpc.stream_unary_rpc_method_handler, self.sum),
            "Chat": handler(grpc.stream_stream_rpc_method_handler, self.chat),
            "Work": handler(grpc.unary_stream_rpc_method_handler, self.work, Step),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def factory(talks: Talks) -> Callable[[Context], Service]:
    """A service factory over the talks."""

    def create(context: Context) -> Service:
        return Service(
            name="talks", kinds=[], driver="memory", register=talks.register, rpc_services=[SERVICE]
        )

    return create


class Caller:
    """The talk service's client on any channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        def rpc(make: Any, name: str, answer: Any = Words) -> Any:
            return make(
                f"/{SERVICE}/{name}",
                request_serializer=Words.SerializeToString,
                response_deserializer=answer.FromString,
            )

        self.say = rpc(channel.unary_unary, "Say")
        self.repeat = rpc(channel.unary_stream, "Repeat")
        self.sum = rpc(channel.stream_unary, "Sum")
        self.chat = rpc(channel.stream_stream, "Chat")
        self.work = rpc(channel.unary_stream, "Work", Step)
