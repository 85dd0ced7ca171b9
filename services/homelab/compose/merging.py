"""One service put over another: what `extends` and several files of one include mean."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.homelab.compose.scalars import Wrong, pairs, strings
from services.homelab.compose.yaml_text import Tagged

_MAPS = frozenset({"environment", "labels", "sysctls", "annotations"})
_REPLACED = frozenset({"command", "entrypoint", "image", "healthcheck.test"})
# Lists whose elements are told apart by the place inside.
_BY_TARGET = frozenset({"volumes", "devices", "secrets", "configs"})
_ONE_OR_MANY = frozenset({"env_file", "dns", "dns_search", "tmpfs", "profiles"})


def merged(base: dict[str, Any], over: dict[str, Any], within: str = "") -> dict[str, Any]:
    """Both in one; what `over` says goes before."""
    found = dict(base)
    for name, value in over.items():
        path = f"{within}.{name}" if within else name
        if isinstance(value, Tagged):
            found.pop(name, None)
            if value.tag == "!override":
                found[name] = value.value
        elif name not in found or found[name] is None or path in _REPLACED:
            found[name] = value
        elif value is not None:
            found[name] = _together(path, found[name], value)
    return found


def layered(under: dict[str, Any], over: dict[str, Any], sections: Collection[str]) -> dict[str, Any]:
    """One whole file put over another: section by section and name by name."""
    found = {**under, **over}
    for section in sections:
        below, above = under.get(section), over.get(section)
        if isinstance(below, dict) and isinstance(above, dict):
            found[section] = {**below}
            for name, value in above.items():
                there = below.get(name)
                if isinstance(there, dict) and isinstance(value, dict):
                    found[section][name] = merged(there, value)
                elif isinstance(value, Tagged) and value.tag == "!reset":
                    found[section].pop(name, None)
                elif value is not None or name not in below:
                    found[section][name] = value.value if isinstance(value, Tagged) else value
        elif above is None and below is not None:
            found[section] = below
    return found


def plain(value: Any) -> Any:
    """Without tags, for what is put over nothing."""
    if isinstance(value, dict):
        return {
            name: plain(one)
            for name, one in value.items()
            if not (isinstance(one, Tagged) and one.tag == "!reset")
        }
    if isinstance(value, list):
        return [plain(one) for one in value]
    return plain(value.value) if isinstance(value, Tagged) else value


def _together(path: str, base: Any, over: Any) -> Any:
    if path in _MAPS:
        try:
            tagged = _tagged(over)
            below = {name: one for name, one in pairs(base).items() if name not in tagged}
            above = {name: one for name, one in over.items() if name not in tagged} if tagged else over
            chosen = {name: one.value for name, one in tagged.items() if one.tag == "!override"}
            return {**below, **pairs(above), **pairs(chosen)}
        except Wrong:
            return over
    if path in ("networks", "depends_on"):
        return merged(_named(base, path), _named(over, path), path)
    if path == "extra_hosts":
        hosts = _hosts(base)
        return [*hosts, *(one for one in _hosts(over) if one not in hosts)]
    if isinstance(base, dict) and isinstance(over, dict):
        drivers = {one["driver"] for one in (base, over) if isinstance(one.get("driver"), str)}
        if path == "logging" and len(drivers) > 1:
            return over  # Options of one driver mean nothing to another.
        return merged(base, over, path)
    if path in _ONE_OR_MANY and not isinstance(base, dict) and not isinstance(over, dict):
        return [*_many(base), *_many(over)]
    if isinstance(base, list) and isinstance(over, list):
        if path in _BY_TARGET:
            there = {_target(one) for one in over}
            return [*(one for one in base if _target(one) not in there), *over]
        return [*base, *(one for one in over if one not in base)]
    return over


def _tagged(value: Any) -> dict[str, Tagged]:
    return (
        {name: one for name, one in value.items() if isinstance(one, Tagged)}
        if isinstance(value, dict)
        else {}
    )


def _named(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    # A name alone says the condition, too.
    usual = {"condition": "service_started", "required": True} if path == "depends_on" else None
    try:
        return {name: usual and {**usual} for name in strings(value)}
    except Wrong:
        return {}


def _hosts(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        return _many(value)
    return [f"{name}={address}" for name, addresses in value.items() for address in _many(addresses)]


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _target(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("target") or value.get("source") or "")
    parts = str(value).split(":")
    return parts[1] if len(parts) > 1 else parts[0]
