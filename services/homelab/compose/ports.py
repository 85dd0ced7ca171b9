"""Published ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose.scalars import Wrong, integer, string

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_MOST = 1000
# Of the long form.
LONG = frozenset({"target", "published", "host_ip", "protocol", "mode", "name", "app_protocol"})


def ports(value: Any) -> Iterator[pb.Port]:
    """Of one entry, short or long; Wrong."""
    if isinstance(value, dict):
        yield from _long(value)
        return
    text = string(value)
    text, _, protocol = text.lower().partition("/")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise Wrong(f"has no protocol that is known: {protocol}")
    address = ""
    if text.startswith("["):
        address, bracket, text = text[1:].partition("]")
        text = text.removeprefix(":")
        if not bracket:
            raise Wrong("has a [ without its ]")
    *before, inside = text.split(":")
    host = before.pop() if before else ""
    if before:
        address = ":".join(before)
    yield from _paired(inside, host, address, protocol or "tcp")


def _long(value: dict[str, Any]) -> Iterator[pb.Port]:
    published = value.get("published")
    host = "" if published is None else string(published)
    if "target" not in value:
        raise Wrong("needs a target")
    protocol = string(value.get("protocol") or "tcp").lower()
    if protocol not in ("tcp", "udp", "sctp"):
        raise Wrong(f"has no protocol that is known: {protocol}")
    target = str(integer(value["target"]))
    yield from _paired(target, host, string(value.get("host_ip") or ""), protocol)


def _paired(inside: str, host: str, address: str, protocol: str) -> Iterator[pb.Port]:
    inner = _numbers(inside)
    outer = _numbers(host) if host else []
    if outer and len(outer) != len(inner):
        raise Wrong(
            "must have as many ports of the host as of the container; a free one of several is not looked for"
        )
    for index, number in enumerate(inner):
        port = pb.Port(container=number, protocol=protocol)
        if outer and outer[index]:
            port.host = outer[index]
        if address and address not in ("0.0.0.0", "::"):
            port.address = address
        yield port


def _numbers(text: str) -> list[int]:
    matched = _RANGE.fullmatch(text)
    if matched is None:
        raise Wrong(f"has no port that is one: {text!r}")
    first = int(matched[1])
    last = int(matched[2] or first)
    if not first <= last <= 65_535 or last - first >= _MOST:
        raise Wrong(f"has no range of ports that is one: {text!r}")
    return list(range(first, last + 1))
