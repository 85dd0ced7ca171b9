"""Binary caches over HTTP and from folders, and what Nix remembers of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import apsw
import pytest

from services.packages.drivers.active_generation import ActiveGeneration
from services.packages.drivers.caches import NixCaches, key_belongs

INFO = b"StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n"


class Handler(BaseHTTPRequestHandler):
    """/good is a cache, /moved and the rest are none."""

    def do_GET(self) -> None:
        good = self.path == "/good/nix-cache-info"
        page = self.path == "/page/nix-cache-info"
        self.send_response(200 if good or page else 302 if "moved" in self.path else 404)
        self.send_header("Location", "file:///etc/passwd")
        self.end_headers()
        self.wfile.write(INFO if good else b"<html>hello</html>")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NixCaches:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "etc/nix").mkdir(parents=True)
    return NixCaches(ActiveGeneration(tmp_path), "there is no Nix here")


def test_each_says_how_it_is(caches: NixCaches, server: str, tmp_path: Path) -> None:
    (tmp_path / "nix-cache-info").write_bytes(INFO)
    urls = [f"{server}/good", f"{server}/good?priority=10", f"file://{tmp_path}", f"{server}/absent"]
    urls += [f"{server}/page", f"{server}/moved", "http://127.0.0.1:1", "file:///nowhere", "s3://bucket"]
    found = caches.states(urls)
    assert [state.url for state in found] == urls
    assert [state.priority for state in found[:3]] == [40, 10, 40]
    assert found[0].mass_query
    assert found[0].store_dir == "/nix/store"
    assert found[0].latency_ms > 0
    words = ["", "", "", "404", "no binary cache", "302", "refused", "No such file", "s3 caches"]
    for state, word in zip(found, words, strict=True):
        assert word in state.error
        assert bool(state.error) is bool(word)


def test_keys_and_what_nix_remembers(caches: NixCaches, server: str, tmp_path: Path) -> None:
    (tmp_path / "etc/nix/nix.conf").write_text(
        "substituters = http://127.0.0.1\ntrusted-public-keys = 127.0.0.1-1:x 127.0.0.1.example-1:y other-1:z\n"
    )
    folder = tmp_path / "cache/nix"
    folder.mkdir(parents=True)
    database = apsw.Connection(str(folder / "binary-cache-v6.sqlite"))
    database.execute("CREATE TABLE BinaryCaches(id INTEGER PRIMARY KEY, url TEXT)")
    database.execute("CREATE TABLE NARs(cache INTEGER, hashPart TEXT, present INTEGER)")
    database.execute("INSERT INTO BinaryCaches VALUES (1, ?)", (f"{server}/good",))
    database.executemany("INSERT INTO NARs VALUES (1, ?, ?)", [("a", 1), ("b", 1), ("c", 0)])
    database.close()
    (folder / "binary-cache-v7.sqlite").write_bytes(b"of another Nix")
    state = caches.states([f"{server}/good"])[0]
    assert (state.known_present, state.known_absent) == (2, 1)
    assert state.public_keys == ("127.0.0.1-1:x",)
    assert caches.settings().substituters == ("http://127.0.0.1",)
    assert caches.states([]) == []


def test_whose_key_it_is() -> None:
    assert key_belongs("cache.nixos.org-1:x", "cache.nixos.org")
    assert not key_belongs("cache.nixos.org.evil-1:x", "cache.nixos.org")
    assert not key_belongs("x-1:y", "")
