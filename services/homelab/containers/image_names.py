"""Names of images as people write them."""

from __future__ import annotations

import re

from services.homelab.references import split_tag

_PREFIXES = ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/")
_IDENTIFIER = re.compile(r"sha256:[0-9a-f]{64}")


def short(reference: str) -> str:
    """The one form that is compared: without Docker Hub's own name, with `:latest` where nothing else is said."""
    if is_identifier(reference) or not reference:
        return reference
    for prefix in _PREFIXES:
        if reference.startswith(prefix):
            reference = reference.removeprefix(prefix)
            break
    name, at, digest = reference.partition("@")
    base, tag = split_tag(name)
    if digest:
        return f"{name}{at}{digest}"
    return f"{base}:{tag or 'latest'}"


def is_identifier(reference: str) -> bool:
    """Whether it is an image's id, which no tag leads to."""
    return _IDENTIFIER.fullmatch(reference) is not None
