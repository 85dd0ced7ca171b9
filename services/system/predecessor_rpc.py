"""nixcc.system.v1.PredecessorService: protobuf <-> what the driver read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.manager import Context
from nixcc.system.v1 import predecessor_pb2 as pb
from nixcc.system.v1 import predecessor_pb2_grpc
from services.system.drivers.predecessor import Configuration, PredecessorDriver

NAME = "nixcc.system.v1.PredecessorService"

_LAYOUTS = {
    "flat": pb.PREDECESSOR_LAYOUT_FLAT,
    "split": pb.PREDECESSOR_LAYOUT_SPLIT,
    "nested": pb.PREDECESSOR_LAYOUT_NESTED,
}


class PredecessorServicer(predecessor_pb2_grpc.PredecessorServiceServicer):
    """The domain rpc."""

    def __init__(self, context: Context, driver: PredecessorDriver) -> None:
        self._context, self._driver = context, driver

    async def ReadPredecessor(
        self, request: pb.ReadPredecessorRequest, context: Any
    ) -> pb.ReadPredecessorResponse:
        return _message(await self._context.run(self._driver.read, request.path))


def _message(found: Configuration) -> pb.ReadPredecessorResponse:
    response = pb.ReadPredecessorResponse(layout=_LAYOUTS[found.layout])
    for file in found.files:
        response.files.add(
            path=_text(file.path),
            attribute_path=file.attribute_path,
            value_json=json.dumps(file.value, separators=(",", ":")),
        )
    for path, note in found.others:
        response.others.add(path=_text(path), note=note)
    for name, text in found.compose:
        response.compose_files.add(path=name, text=text)
    return response


def _text(path: Path) -> str:
    return str(path).encode(errors="surrogateescape").decode(errors="replace")
