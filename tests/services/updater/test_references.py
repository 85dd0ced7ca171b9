from __future__ import annotations

import pytest

from services.updater.references import has_secret, redacted, split_key, text_of


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("github:NixOS/nixpkgs/nixos-26.05", None),
        ("git+ssh://git@github.com/a/b", None),
        ("git+file:///srv/a?ref=main", None),
        ("https://example.org/a@b/c.tar.gz", None),
        ("git+https://alice:hunter2@example.org/a", "git+https://********@example.org/a"),
        ("git+https://ghp_abc@github.com/a/b?ref=x", "git+https://********@github.com/a/b?ref=x"),
        ("git+ssh://alice:hunter2@example.org/a", "git+ssh://********@example.org/a"),
        (
            "https://example.org/a.tar.gz?access_token=abc&b=c",
            "https://example.org/a.tar.gz?access_token=********&b=c",
        ),
        ("https://example.org/a?x=1&PRIVATE-TOKEN=abc", "https://example.org/a?x=1&PRIVATE-TOKEN=********"),
    ],
)
def test_secrets(url: str, shown: str | None) -> None:
    assert has_secret(url) is (shown is not None)
    assert redacted(url) == (shown or url)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"type": "github", "owner": "NixOS", "repo": "nixpkgs", "ref": "main"}, "github:NixOS/nixpkgs/main"),
        (
            {
                "type": "github",
                "owner": "a",
                "repo": "b",
                "rev": "c0ffee",
                "ref": "x",
                "narHash": "h",
                "dir": "d",
            },
            "github:a/b/c0ffee?dir=d",
        ),
        ({"type": "git", "url": "file:///a", "ref": "main", "rev": "1"}, "git+file:///a?ref=main&rev=1"),
        ({"type": "git", "url": "https://t@h/a"}, "git+https://********@h/a"),
        ({"type": "path", "path": "/srv/x"}, "path:/srv/x"),
        ({"type": "tarball", "url": "https://h/x.tar.gz?a=b"}, "https://h/x.tar.gz?a=b"),
        ({"type": "indirect", "id": "nixpkgs", "ref": "nixos-26.05"}, "flake:nixpkgs/nixos-26.05"),
        ({"type": "sourcehut", "owner": "~a", "repo": "b", "host": "h"}, "sourcehut:~a/b?host=h"),
    ],
)
def test_attributes_as_people_write_them(attributes: dict[str, str], text: str) -> None:
    assert text_of(attributes) == text


def test_keys() -> None:
    assert split_key("/etc/nixos#a/b") == ("/etc/nixos", "a/b")
