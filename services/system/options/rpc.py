"""nixcc.system.v1.OptionService: protobuf <-> models, and blocking work in the executor."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

from common import json_text
from common.errors import InvalidRequest, NotFound, Violation
from common.manager import Context
from common.progress import Report, progress
from nixcc.resource.v1.resource_pb2 import Progress, Renderings
from nixcc.system.v1 import option_pb2 as pb
from nixcc.system.v1 import option_pb2_grpc
from services.system.drivers import option_sources
from services.system.drivers.option_evaluation import OptionEvaluation
from services.system.generation import desired
from services.system.generation.service import GenerationService
from services.system.options import paths
from services.system.options.documentation import document
from services.system.options.models import Current, IndexInfo, Option
from services.system.options.registry import OptionRegistry

NAME = "nixcc.system.v1.OptionService"

_LIMIT, _MOST = 20, 1_000


class OptionServicer(option_pb2_grpc.OptionServiceServicer):
    """The domain rpcs."""

    def __init__(
        self,
        context: Context,
        registry: OptionRegistry,
        evaluation: OptionEvaluation,
        generation: GenerationService,
    ) -> None:
        self._context, self._registry = context, registry
        self._evaluation, self._generation = evaluation, generation

    async def GetOptionIndex(
        self, request: pb.GetOptionIndexRequest, context: Any
    ) -> pb.GetOptionIndexResponse:
        info = (await self._context.run(self._registry.index)).info()
        return pb.GetOptionIndexResponse(index=_info(info))

    async def RefreshOptions(
        self, request: pb.RefreshOptionsRequest, context: Any
    ) -> AsyncIterator[pb.RefreshOptionsResponse]:
        if request.flake and request.file:
            raise InvalidRequest("either a flake or a file", [Violation("file", "excludes flake")])

        def work(report: Report, cancel: threading.Event) -> IndexInfo:
            if request.flake:
                host = request.host or self._generation.builder.host_name()
                report(Progress(message=f"evaluating the options of {host} in {request.flake}"))
                options = self._evaluation.options(request.flake, host, cancel)
                return self._registry.make(options, f"{request.flake}#{host}", "flake")
            if request.file:
                report(Progress(message=f"reading {request.file}"))
                return self._registry.make(option_sources.read_file(request.file), request.file, "file")
            self._registry.forget()
            return self._registry.index().info()

        async for event in progress(self._context, work):
            if isinstance(event, Progress):
                yield pb.RefreshOptionsResponse(progress=event)
            else:
                yield pb.RefreshOptionsResponse(result=_info(event))

    async def SearchOptions(self, request: pb.SearchOptionsRequest, context: Any) -> pb.SearchOptionsResponse:
        def work() -> list[Option]:
            limit = min(request.limit or _LIMIT, _MOST)
            return self._registry.index().search(request.query, limit=limit, prefix=request.prefix)

        return pb.SearchOptionsResponse(options=map(_option, await self._context.run(work)))

    async def GetOption(self, request: pb.GetOptionRequest, context: Any) -> pb.GetOptionResponse:
        steps = _steps(request.name)
        response = pb.GetOptionResponse(option=_option(await self._context.run(self._found, steps)))
        if request.evaluate:
            flake, host = await self._context.run(self._evaluated, request.flake, request.host)
            current = await self._context.run(self._evaluation.current, flake, host, steps)
            response.value.CopyFrom(_value(current))
        return response

    async def ListChildOptions(
        self, request: pb.ListChildOptionsRequest, context: Any
    ) -> pb.ListChildOptionsResponse:
        def work() -> pb.ListChildOptionsResponse:
            index = self._registry.index()
            node = index.find(_steps(request.name))
            if node is None:
                raise _unknown(request.name)
            response = pb.ListChildOptionsResponse()
            for child in index.children(node.id):
                row = response.children.add(name=child.name, below=child.below, summary=child.summary)
                row.type = child.type or ""
            return response

        return await self._context.run(work)

    async def ValidateOptions(
        self, request: pb.ValidateOptionsRequest, context: Any
    ) -> pb.ValidateOptionsResponse:
        def work() -> pb.ValidateOptionsResponse:
            value = _nested(request.options_json, "options_json")
            response = pb.ValidateOptionsResponse()
            for path, why in desired.uncarriable(value):
                response.violations.add(name=path, description=why)
            if not response.violations:
                self._registry.index()  # without one nothing would be checked, and nobody told
                for wrong in self._registry.validate(value):
                    response.violations.add(
                        name=paths.show(wrong.path), description=wrong.description, expected=wrong.expected
                    )
            return response

        return await self._context.run(work)

    async def ComposeOptions(
        self, request: pb.ComposeOptionsRequest, context: Any
    ) -> pb.ComposeOptionsResponse:
        def work() -> str:
            whole = Renderings()
            for number, one in enumerate(request.sets):
                _nested(one.options_json, f"sets[{number}].options_json")
                whole.resources.add(
                    kind="Set", name=one.owner or f"number {number + 1}", options_json=one.options_json
                )
            return json_text.canonical(desired.merged(whole))

        return pb.ComposeOptionsResponse(options_json=await self._context.run(work))

    async def DocumentOptions(
        self, request: pb.DocumentOptionsRequest, context: Any
    ) -> pb.DocumentOptionsResponse:
        def work() -> str:
            if request.options_json:
                value = _nested(request.options_json, "options_json")
            else:
                running = self._generation.host.running()
                held = desired.parse(self._generation.host.desired(running)) if running else Renderings()
                value = desired.merged(held)
            return document(self._registry.index(), value)

        return pb.DocumentOptionsResponse(markdown=await self._context.run(work))

    def _found(self, steps: paths.Path) -> Option:
        index = self._registry.index()
        node = index.find(steps)
        option = None if node is None else index.option(node.id)
        if option is None:
            raise _unknown(paths.show(steps))
        return option

    def _evaluated(self, flake: str, host: str) -> tuple[str, str]:
        """The flake and host to evaluate."""
        if not flake:
            record = self._generation.records.read()
            if record is None or not record.flake:
                raise NotFound(
                    "which flake the running system was built from is not known",
                    next_step="name it: --flake REF",
                )
            flake, host = record.flake, host or record.attribute
        return flake, host or self._generation.builder.host_name()


def _steps(name: str) -> paths.Path:
    try:
        return paths.parse(name)
    except ValueError as error:
        raise InvalidRequest(str(error), [Violation("name", str(error))]) from error


def _unknown(name: str) -> NotFound:
    return NotFound(f"there is no option {name}", next_step=f"ncc option search {name.rpartition('.')[2]}")


def _nested(text: str, field: str) -> dict[str, Any]:
    try:
        value = json_text.parse(text)
    except ValueError as error:
        raise InvalidRequest(f"the options are no JSON: {error}", [Violation(field, str(error))]) from error
    if not isinstance(value, dict):
        raise InvalidRequest("options are a mapping", [Violation(field, "must be a JSON object")])
    return value


def _info(info: IndexInfo) -> pb.OptionIndexInfo:
    message = pb.OptionIndexInfo(source=info.source, origin=info.origin, options=info.options)
    message.build_time.FromNanoseconds(int(info.built * 1e9))
    return message


def _option(option: Option) -> pb.Option:
    return pb.Option(
        name=paths.show(option.loc),
        type=option.type,
        default=option.default,
        example=option.example,
        description=option.description,
        declarations=option.declarations,
        read_only=option.read_only,
    )


def _value(current: Current) -> pb.OptionValue:
    message = pb.OptionValue(
        value_json=current.value_json, is_defined=current.is_defined, why_unknown=current.why_unknown
    )
    for one in current.definitions:
        message.definitions.add(file=one.file, value_json=one.value_json)
    return message
