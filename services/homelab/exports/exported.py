"""What is exported, and what could not be said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nixcc.homelab.v1 import container_pb2 as pb


@dataclass(frozen=True, slots=True)
class Exported:
    """A container by its name."""

    name: str
    spec: pb.Container


@dataclass(frozen=True, slots=True)
class Note:
    """A field that the other form has no words for."""

    container: str
    field: str
    reason: str


def unsaid(container: Exported, fields: Sequence[str], reason: str = "has no counterpart") -> Iterator[Note]:
    """A note for each of the fields that is set."""
    for name in fields:
        descriptor = pb.Container.DESCRIPTOR.fields_by_name[name]
        value = getattr(container.spec, name)
        given = bool(value) if descriptor.is_repeated else container.spec.HasField(name)  # type: ignore[arg-type]
        if given:
            yield Note(container.name, name, reason)
