"""What a container remembers of its own making: its spec, and a digest of the files that its environment came from.

A living container can't be given other labels, and nothing but the fields in LIVING can be changed on it: so what the
label says of the other fields stays true for as long as the container lives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from common.spec_json import dump, to_json
from nixcc.homelab.v1 import container_pb2 as pb

SPEC = "io.nixcc.spec"
# What it is called, whatever somebody calls it now.
NAME = "io.nixcc.name"
FILES = "io.nixcc.environment-files"
# Of what stands in the way of a clean takeover; never on a container, only told by Detect.
LEFTOVER = "io.nixcc.leftover"

# Fields that the engine changes, or nobody needs to: they are read where they live.
LIVING = frozenset({"limits", "restart", "networks", "network_mode", "running"})


def written(spec: pb.Container) -> str:
    """The label's text: the spec as JSON. Secrets are in it as paths only."""
    return dump(to_json(spec, mask=False))


def read(labels: Mapping[str, str]) -> pb.Container | None:
    """The spec that a container was made from; None: it wasn't made here, or the label can't be read."""
    text = labels.get(SPEC)
    if not text:
        return None
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            return None
        return json_format.ParseDict(values, pb.Container(), ignore_unknown_fields=True)
    except (ValueError, json_format.ParseError):
        return None


def digest(contents: Sequence[bytes], salt: str) -> str:
    """`salt:hex` of what the environment's files hold, one after the other: salted, since variables may be guessed."""
    found = hashlib.sha256(salt.encode())
    for content in contents:
        found.update(hashlib.sha256(content).digest())
    return f"{salt}:{found.hexdigest()}"


def matches(label: str, contents: Sequence[bytes]) -> bool:
    """Whether the files still hold what they held when the container was made."""
    return digest(contents, label.partition(":")[0]) == label


def overlaid(
    seen: pb.Container, made_from: pb.Container, edited: Collection[str] = frozenset()
) -> pb.Container:
    """What the engine tells, and for all that can't change since it was made what it was made from.

    `edited`: fields that the label doesn't tell the truth about.
    """
    fields: Any = pb.Container.DESCRIPTOR.fields
    for field in fields:
        if field.name in LIVING or field.name in edited:
            continue
        if field.is_repeated:
            seen.ClearField(field.name)
            getattr(seen, field.name).MergeFrom(getattr(made_from, field.name))
        elif made_from.HasField(field.name):
            if field.message_type is not None:
                getattr(seen, field.name).CopyFrom(getattr(made_from, field.name))
            else:
                setattr(seen, field.name, getattr(made_from, field.name))
    return seen
