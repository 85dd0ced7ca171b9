"""Published ports."""

from __future__ import annotations

from typing import Any

import pytest

from services.homelab.compose.ports import ports
from services.homelab.compose.scalars import Wrong


def told(value: Any) -> list[tuple[str, int, int, str]]:
    return [(port.address, port.host, port.container, port.protocol) for port in ports(value)]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (80, [("", 0, 80, "tcp")]),
        ("8080:80", [("", 8080, 80, "tcp")]),
        ("127.0.0.1:8080:80/udp", [("127.0.0.1", 8080, 80, "udp")]),
        ("127.0.0.1::80", [("127.0.0.1", 0, 80, "tcp")]),
        ("0.0.0.0:1:2", [("", 1, 2, "tcp")]),
        ("[::1]:90:91", [("::1", 90, 91, "tcp")]),
        ("::1:90:91", [("::1", 90, 91, "tcp")]),
        ("3000-3001:80-81", [("", 3000, 80, "tcp"), ("", 3001, 81, "tcp")]),
        ("70-71", [("", 0, 70, "tcp"), ("", 0, 71, "tcp")]),
        ({"target": 80, "published": "8080", "host_ip": "127.0.0.1"}, [("127.0.0.1", 8080, 80, "tcp")]),
        ({"target": 53, "protocol": "udp"}, [("", 0, 53, "udp")]),
    ],
)
def test_forms(value: Any, found: list[tuple[str, int, int, str]]) -> None:
    assert told(value) == found


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a:80",
        "80:99999",
        "80:80/icmp",
        "1-3:80",
        "9-8",
        "1-9999",
        "[::1",
        {"published": 1},
        {"target": "x"},
        [],
    ],
)
def test_what_is_wrong(value: Any) -> None:
    with pytest.raises(Wrong):
        told(value)
