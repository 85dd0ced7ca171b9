"""References to images: `[registry/]repository[:tag][@digest]`."""

from __future__ import annotations

_HUB = ("docker.io/", "index.docker.io/")


def familiar(reference: str) -> str:
    """The whole reference in one form: with its registry, and with `:latest` where it has neither tag nor digest."""
    name, _, digest = reference.partition("@")
    base, tag = split_tag(name)
    base = repository(base)
    if digest:
        return f"{base}@{digest}"
    return f"{base}:{tag or 'latest'}"


def repository(reference: str) -> str:
    """Without tag and digest, with its registry: `docker.io/library/busybox` for `busybox:1`."""
    base, _ = split_tag(reference.partition("@")[0])
    for prefix in _HUB:
        base = base.removeprefix(prefix)
    first, slash, _ = base.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return base
    return f"docker.io/{base if slash else f'library/{base}'}"


def split_tag(name: str) -> tuple[str, str]:
    """The name and its tag, empty: none. A registry's port is no tag."""
    base, colon, tag = name.rpartition(":")
    return (base, tag) if colon and "/" not in tag else (name, "")


def digest_of(digests: list[str], reference: str) -> str:
    """Of an image's digests (`repository@sha256:…`) the one that belongs to the reference; empty: none does."""
    wanted = repository(reference)
    for one in digests:
        name, _, digest = one.partition("@")
        if digest and repository(name) == wanted:
            return digest
    return ""
