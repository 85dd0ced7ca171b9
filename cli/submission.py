"""Reads manifests and hands them to the daemon; wrong fields come back with file, line and column."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cli.client import Client
from common.errors import InvalidRequest, Violation

if TYPE_CHECKING:
    from cli.manifest import Document

_PLACE = re.compile(r"resources\[(\d+)\]\.?(.*)", re.DOTALL)


class Submission(NamedTuple):
    """The documents and what became of them."""

    documents: Sequence[Document]
    response: Any


def submit(client: Client, sources: Sequence[str], **fields: Any) -> Submission:
    """Applies what the sources hold as one set; `fields` go into the ApplyRequest.

    Raises InvalidRequest with every problem, by place in the files, and then nothing was applied.
    """
    from cli.manifest import load

    return submit_documents(client, load(sources, client.kinds, stdin=sys.stdin.buffer), **fields)


def submit_documents(client: Client, documents: Sequence[Document], **fields: Any) -> Submission:
    """As `submit`, for what is read already."""
    from nixcc.state.v1 import state_pb2

    request = state_pb2.ApplyRequest(resources=[document.resource for document in documents], **fields)
    try:
        return Submission(documents, client.call(client.state.Apply, request, timeout=120))
    except InvalidRequest as error:
        rows = [_placed(violation, documents) for violation in error.violations]
        raise InvalidRequest(error.message, rows, next_step=error.next_step) from None


def _placed(violation: Violation, documents: Sequence[Document]) -> Violation:
    """The daemon names a field of the request; people want its file, line and column."""
    found = _PLACE.fullmatch(violation.field)
    if found is None or int(found[1]) >= len(documents):
        return violation
    position = documents[int(found[1])].position(found[2])
    return Violation(str(position), f"{found[2].removeprefix('spec.')} {violation.description}")
