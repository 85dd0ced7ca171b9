"""Two closures side by side: which packages came, went, or changed their version."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from services.system.generation.models import PackageChange

# Nix splits a name where the first dash is followed by no letter (builtins.parseDrvName).
_NAME = re.compile(r"(.+?)(?:-([^a-zA-Z].*))?")
# Outputs beside `out` end the name: they are no packages of their own.
_OUTPUTS = re.compile(r"-(bin|dev|lib|man|doc|info|devdoc|debug|static|data|terminfo|modules|python)$")


def parse_name(path: str) -> tuple[str, str]:
    """Name and version of a store path: `/nix/store/HASH-bash-5.2-bin` is `bash`, `5.2`."""
    base = path.rpartition("/")[2]
    name = base[33:] if len(base) > 33 and base[32] == "-" else base
    name = _OUTPUTS.sub("", name)
    match = _NAME.fullmatch(name)
    if match is None:
        return name, ""
    return match[1], match[2] or ""


def compare(old: Mapping[str, int], new: Mapping[str, int]) -> tuple[PackageChange, ...]:
    """Packages whose versions differ, by name. Path -> bytes.

    Paths without a version (units, wrappers, the system itself) are left out: they differ with each build.
    """
    before, after = _by_name(old), _by_name(new)
    found = []
    for name in sorted(before.keys() | after.keys()):
        old_versions, new_versions = before.get(name, {}), after.get(name, {})
        if old_versions.keys() == new_versions.keys():
            continue
        found.append(
            PackageChange(
                name,
                tuple(sorted(old_versions)),
                tuple(sorted(new_versions)),
                sum(new_versions.values()) - sum(old_versions.values()),
            )
        )
    return tuple(found)


def _by_name(closure: Mapping[str, int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for path, size in closure.items():
        name, version = parse_name(path)
        if version:
            found[name][version] += size
    return found
