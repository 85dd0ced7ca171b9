"""Reads manifests and hands them to the daemon; wrong fields come back with file, line and column."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cli.client import Client
from common.errors import InvalidRequest, Violation

_PLACE = re.compile(r"resources\[(\d+)\]\.?(.*)", re.DOTALL)


@dataclass(frozen=True)
class Submission:
    """The documents and what became of them."""

    documents: Sequence[Any]
    response: Any


def submit(client: Client, sources: Sequence[str], **fields: Any) -> Submission:
    """Applies what the sources hold as one set; `fields` go into the ApplyRequest.

    Raises InvalidRequest with every problem, by place in the files, and then nothing was applied.
    """
    from cli.manifest import ManifestError, load
    from nixcc.state.v1 import state_pb2

    try:
        documents = load(sources, client.kinds, stdin=sys.stdin.buffer)
    except ManifestError as error:
        rows = [Violation(f"{p.file}:{p.line}:{p.column}", p.message) for p in error.problems]
        raise InvalidRequest(_counted(len(rows)), rows) from None
    if not documents:
        raise InvalidRequest(f"there is no document in {', '.join(sources)}")
    request = state_pb2.ApplyRequest(resources=[document.resource for document in documents], **fields)
    try:
        return Submission(documents, client.call(client.state.Apply, request, timeout=120))
    except InvalidRequest as error:
        rows = [_placed(violation, documents) for violation in error.violations]
        raise InvalidRequest(
            _counted(len(rows)) if rows else error.message, rows, next_step=error.next_step
        ) from None


def _counted(count: int) -> str:
    return f"{count} problem{'s' if count != 1 else ''} in the manifests; nothing was applied"


def _placed(violation: Violation, documents: Sequence[Any]) -> Violation:
    found = _PLACE.fullmatch(violation.field)
    if found is None or int(found[1]) >= len(documents):
        return violation
    position = documents[int(found[1])].position(found[2])
    return Violation(
        f"{position.file}:{position.line}:{position.column}", f"{found[2]}: {violation.description}"
    )
