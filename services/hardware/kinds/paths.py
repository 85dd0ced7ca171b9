"""What the kinds' paths have in common."""

from __future__ import annotations

from collections.abc import Iterator

# How NixOS names the stable links that udev makes for each tag.
_LINKS = {"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}


def wrong_path(path: str) -> Iterator[str]:
    """Why this is no absolute path in its shortest form."""
    if not path.startswith("/"):
        yield "must be absolute"
    elif any(part in ("", ".", "..") for part in path[1:].split("/")) and path != "/":
        yield "must have no `.`, `..`, double or trailing slashes"


def is_tagged(source: str) -> bool:
    """Whether it names a device by `UUID=…` or its like."""
    name, equals, value = source.partition("=")
    return bool(equals) and name in _LINKS and bool(value) and "/" not in value


def nixos_device(source: str) -> str:
    """The source as NixOS takes it: tags become links in /dev/disk."""
    if not is_tagged(source):
        return source
    name, _, value = source.partition("=")
    return f"/dev/disk/{_LINKS[name]}/{value}"
