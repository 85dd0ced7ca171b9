"""Paths of a compose file made whole: they begin in the folder of the file that they are written in."""

from __future__ import annotations

import os.path
from pathlib import Path
from typing import Any

from services.homelab.compose.yaml_text import Tagged


def absolute(path: str, directory: Path) -> str:
    """Without `.` and `..`; `~` stays, for whose home is meant isn't known here."""
    return path if path.startswith("~") else os.path.normpath(directory / path)


def is_path(source: str) -> bool:
    """Whether the source of a short mount is a path, not a volume's name."""
    return source.startswith(("/", ".", "~"))


def located(service: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The service with whole paths."""
    found = dict(service)
    if "env_file" in found:
        found["env_file"] = _env_file(found["env_file"], directory)
    if "volumes" in found:
        found["volumes"] = _each(found["volumes"], lambda one: _mount(one, directory))
    return found


def _env_file(value: Any, directory: Path) -> Any:
    def one(entry: Any) -> Any:
        if isinstance(entry, str):
            return absolute(entry, directory)
        if isinstance(entry, dict) and isinstance(entry.get("path"), str):
            return {**entry, "path": absolute(entry["path"], directory)}
        return entry

    return _each(value, one) if isinstance(value, list | Tagged) else one(value)


def _mount(entry: Any, directory: Path) -> Any:
    if isinstance(entry, str):
        source, mark, rest = entry.partition(":")
        return f"{absolute(source, directory)}:{rest}" if mark and is_path(source) else entry
    if isinstance(entry, dict) and entry.get("type") == "bind" and isinstance(entry.get("source"), str):
        return {**entry, "source": absolute(entry["source"], directory)}
    return entry


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, Tagged):
        return Tagged(value.tag, _each(value.value, change))
    return [change(one) for one in value] if isinstance(value, list) else value
