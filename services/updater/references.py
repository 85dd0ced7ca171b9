"""Flake references as text, without what is secret in them."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

_USER_INFO = re.compile(r"(?<=://)[^/@?#\s]*@")
_SECRET_PARAMETER = re.compile(r"(?i)([?&][a-z_-]*(?:token|password|secret|key)[a-z_-]*=)[^&#]*")

MASK = "********"


def has_secret(url: str) -> bool:
    """Whether it holds a password or a token. A plain user name is one for the web, and none for SSH."""
    if _SECRET_PARAMETER.search(url):
        return True
    user = _USER_INFO.search(url)
    if user is None:
        return False
    return ":" in user.group() or "ssh://" not in url[: user.start()]


def redacted(url: str) -> str:
    """The same with what is secret masked."""
    if not has_secret(url):
        return url
    return _SECRET_PARAMETER.sub(rf"\1{MASK}", _USER_INFO.sub(f"{MASK}@", url, count=1))


def key_of(flake: str, path: str) -> str:
    """`/etc/nixos#nixpkgs`."""
    return f"{flake}#{path}"


def split_key(key: str) -> tuple[str, str]:
    """The flake's folder and the input's path."""
    flake, _, path = key.partition("#")
    return flake, path


def text_of(attributes: Mapping[str, Any]) -> str:
    """A reference that flake.nix or a lock file has as attributes, as people write it; secrets masked.

    As Nix writes them: `github:owner/repo/rev?dir=…`, `git+file:///path?ref=main&rev=…`, `path:/folder`.
    """
    sort = str(attributes.get("type", ""))
    given = {
        key: str(value) for key, value in attributes.items() if key in _SHOWN and value not in ("", None)
    }
    if sort == "indirect":
        base = "flake:" + "/".join(
            filter(None, (str(attributes.get("id", "")), given.get("ref"), given.get("rev")))
        )
        query: dict[str, str] = {}
    elif sort in ("github", "gitlab", "sourcehut"):
        version = given.get("rev") or given.get("ref")
        base = f"{sort}:" + "/".join(
            filter(None, (str(attributes.get("owner", "")), str(attributes.get("repo", "")), version))
        )
        query = {key: given[key] for key in ("dir", "host") if key in given}
    else:
        place = str(attributes.get("path" if sort == "path" else "url", ""))
        prefix = {"git": "git+", "hg": "hg+", "tarball": "", "file": "file+", "path": "path:"}.get(
            sort, f"{sort}:"
        )
        base = place if place.startswith(prefix) else prefix + place
        query = {key: given[key] for key in ("dir", "ref", "rev") if key in given}
    joint = "&" if "?" in base else "?"
    return redacted(base + (joint + urllib.parse.urlencode(query, safe="/") if query else ""))


_SHOWN = ("dir", "host", "ref", "rev")
