"""A profile's manifest.json, versions 1 to 3."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import WrongState
from services.packages.models import Element


def read(profile: Path) -> tuple[Element, ...]:
    """The elements of the profile (or of one generation); none where it does not exist.

    Raises WrongState for one that is damaged, was made by nix-env, or comes from a later Nix.
    """
    path = profile / "manifest.json"
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if (profile / "manifest.nix").exists():
            raise WrongState(
                f"{profile} was made by nix-env, which names no sources",
                next_step="choose another profile (NCC_PACKAGES_PROFILE), or remove this one",
            ) from None
        return ()
    except OSError as error:
        raise WrongState(f"{path} can't be read: {error.strerror}") from error
    try:
        return tuple(_elements(json.loads(text)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WrongState(
            f"{path} is damaged: {error}",
            next_step="go back to a generation that is whole: ncc package rollback",
        ) from error


def _elements(manifest: Mapping[str, Any]) -> Iterator[Element]:
    version = manifest["version"]
    if version not in (1, 2, 3):
        raise ValueError(f"its version {version} is not known; 1 to 3 are")
    found = manifest["elements"]
    rows = found.items() if version == 3 else ((str(at), row) for at, row in enumerate(found))
    for handle, row in rows:
        if not isinstance(row["storePaths"], list) or not all(isinstance(p, str) for p in row["storePaths"]):
            raise ValueError(f"element {handle} has no list of store paths")
        yield Element(
            handle=handle,
            attr_path=row.get("attrPath") or "",
            original_url=row.get("originalUrl") or row.get("originalUri") or "",
            locked_url=row.get("url") or row.get("uri") or "",
            store_paths=tuple(sorted(row["storePaths"])),
            outputs=tuple(row.get("outputs") or ()),
            priority=int(row.get("priority", 5)),
            active=bool(row.get("active", True)),
        )
