from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import CommandFailed, ControlError, HostUnavailable, InvalidRequest, NotFound, Unsupported
from services.updater.drivers.notify import HostNotifier


class Server(http.server.ThreadingHTTPServer):
    status = 200
    got: list[tuple[str, bytes]]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        server.got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as made:
        made.got = []
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def hook(folder: Path, text: str) -> str:
    path = folder / "hook"
    path.write_text(text)
    return str(path)


def test_command_gets_the_body(tmp_path: Path) -> None:
    out = tmp_path / "out"
    HostNotifier().command(["/bin/sh", "-c", f"cat > {out}"], b'{"a": "\xc3\xa4"}')
    assert out.read_bytes() == b'{"a": "\xc3\xa4"}'
    with pytest.raises(CommandFailed):
        HostNotifier().command(["/bin/sh", "-c", "exit 3"], b"")
    with pytest.raises(Unsupported):
        HostNotifier().command(["/nowhere/tell"], b"")


def test_posted(server: Server, tmp_path: Path) -> None:
    file = hook(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/secret-path\nmore\n")
    HostNotifier().webhook(file, b"{}")
    assert server.got == [("/secret-path", b"{}")]


def test_errors_do_not_tell_the_address(server: Server, tmp_path: Path) -> None:
    server.status = 500
    refused = hook(tmp_path, f"http://127.0.0.1:{server.server_address[1]}/secret-path")
    with pytest.raises(HostUnavailable, match="answered 500") as caught:
        HostNotifier().webhook(refused, b"{}")
    assert "secret-path" not in str(caught.value)
    with pytest.raises(HostUnavailable, match="can't be reached") as caught:
        HostNotifier().webhook(hook(tmp_path, "http://127.0.0.1:1/secret-path"), b"{}")
    assert "secret-path" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "file:///etc/passwd", "ftp://x/hunter2", "hunter2"], ids=str)
def test_no_web_address(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        HostNotifier().webhook(hook(tmp_path, text), b"{}")
    assert "hunter2" not in str(caught.value).replace(str(tmp_path), "")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        HostNotifier().webhook(str(tmp_path / "none"), b"{}")
    with pytest.raises(ControlError):
        HostNotifier().webhook(str(tmp_path), b"{}")
