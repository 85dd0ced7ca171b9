"""Probes against real servers on this machine."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from common.errors import Cancelled, Unsupported
from services.system.drivers import nixos_probes
from services.system.generation.models import Probe


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = {"/": 200, "/missing": 404, "/moved": 302, "/broken": 500}[self.path]
        self.send_response(status)
        self.send_header("Location", "/broken")
        self.end_headers()
        self.wfile.write(b"all is well")

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def failures(sort: str, timeout: float = 0.3, **arguments: Any) -> list[str]:
    def active(unit: str) -> bool:
        if unit == "unknown.service":
            raise Unsupported("no systemd here")
        return unit == "good.service"

    return nixos_probes.run([Probe("p", sort, arguments, timeout)], active, lambda: False)


@pytest.mark.parametrize(
    ("path", "more", "said"),
    [
        ("/", {}, ""),
        ("/", {"status": 200, "contains": "is well"}, ""),
        ("/", {"contains": "on fire"}, "without 'on fire'"),
        ("/moved", {}, ""),
        ("/moved", {"status": 200}, "answers 302 instead of 200"),
        ("/missing", {"status": 404}, ""),
        ("/missing", {}, "answers 404"),
        ("/broken", {}, "answers 500"),
    ],
)
def test_http(site: str, path: str, more: dict[str, Any], said: str) -> None:
    found = failures("http", url=site + path, **more)

    assert bool(found) == bool(said)
    assert all(said in one for one in found)


def test_http_that_nobody_answers() -> None:
    assert "refused" in failures("http", url=f"http://127.0.0.1:{_unused()}")[0]


def test_tcp() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert failures("tcp", host="127.0.0.1", port=server.getsockname()[1]) == []
    assert "refused" in failures("tcp", host="127.0.0.1", port=_unused())[0]


def test_dns() -> None:
    assert failures("dns", name="localhost") == []
    assert failures("dns", name="localhost", address="127.0.0.1") == []
    assert "instead of 192.0.2.1" in failures("dns", name="localhost", address="192.0.2.1")[0]
    assert failures("dns", name="nowhere.invalid")


def test_commands_are_argument_lists() -> None:
    assert failures("command", argv=["true"]) == []
    assert failures("command", argv=["test", "$HOME; true", "=", "$HOME; true"]) == []
    assert failures("command", argv=["sh", "-c", "echo why >&2; exit 3"]) == ["probe p: sh ended with 3: why"]
    assert "not installed" in failures("command", argv=["no-such-program"])[0]
    assert "did not end" in failures("command", argv=["sleep", "30"])[0]


def test_units() -> None:
    assert failures("unit", unit="good.service") == []
    assert "not active" in failures("unit", unit="bad.service")[0]
    assert "no systemd" in failures("unit", unit="unknown.service")[0]


def test_what_starts_late_is_waited_for() -> None:
    port = _unused()

    def later() -> None:
        time.sleep(0.3)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()[0].close()

    thread = threading.Thread(target=later)
    thread.start()
    assert failures("tcp", timeout=10, host="127.0.0.1", port=port) == []
    thread.join()


def test_they_run_side_by_side_and_stop_when_nobody_wants_to_know() -> None:
    probes = [Probe(f"p{number}", "command", {"argv": ["false"]}, 60) for number in range(5)]
    start = time.monotonic()

    with pytest.raises(Cancelled):
        nixos_probes.run(probes, bool, lambda: time.monotonic() - start > 0.3)

    assert time.monotonic() - start < 10


def _unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
