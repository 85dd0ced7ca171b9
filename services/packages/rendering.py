"""NixOS options of packages, sets and caches. What people wrote stays data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.manager import JsonValue
from nixcc.packages.v1 import substituter_pb2

# The module looks the attribute path up in `pkgs`; JSON itself can't hold a package.
_MARK = "_package"


def system_packages(attributes: Iterable[str]) -> dict[str, JsonValue]:
    """`environment.systemPackages`."""
    return {"environment": {"systemPackages": [{_MARK: attribute} for attribute in sorted(set(attributes))]}}


def attributes_of(options: Mapping[str, Any]) -> list[str]:
    """Attribute paths of what `system_packages` made."""
    found = options.get("environment", {}).get("systemPackages", [])
    return [row[_MARK] for row in found if isinstance(row, dict) and _MARK in row]


def nix_settings(spec: substituter_pb2.Substituter) -> dict[str, JsonValue]:
    """`nix.settings`."""
    settings: dict[str, JsonValue] = {"substituters": [url_of(spec)]}
    if spec.public_keys:
        settings["trusted-public-keys"] = sorted(set(spec.public_keys))
    return {"nix": {"settings": settings}}


def url_of(spec: substituter_pb2.Substituter) -> str:
    """The address with its priority, as Nix reads it."""
    return f"{spec.url}?priority={spec.priority}" if spec.HasField("priority") else spec.url


def settings_of(options: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[str]]:
    """Caches and keys of what `nix_settings` made."""
    settings = options.get("nix", {}).get("settings", {})
    return settings.get("substituters", ()), settings.get("trusted-public-keys", ())
