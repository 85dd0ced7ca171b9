"""What the active NixOS generation says of itself: the desired.json that it was made from, and its nix.conf."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import WrongState
from services.packages.models import NixSettings

_DESIRED = "run/current-system/etc/nixcc/desired.json"


class ActiveGeneration:
    """Read anew at each look; small."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def nixos(self) -> bool:
        """Whether the host is one that has generations."""
        return (self._root / "etc/NIXOS").exists()

    def options(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """What the active generation contains of a kind: options by the resource's name."""
        path = self._root / _DESIRED
        try:
            desired = json.loads(path.read_bytes())
            return {
                row["name"]: row["options"]
                for row in desired.get("resources", ())
                if row["kind"] == kind and isinstance(row["options"], dict)
            }
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise WrongState(f"{path} can't be read: {error}") from error

    def nix_settings(self) -> NixSettings:
        """Caches and keys of the host's nix.conf, what it includes and what adds to it."""
        values: dict[str, list[str]] = {}
        _read_conf(self._root, self._root / "etc/nix/nix.conf", values, depth=0)
        urls = values.get("substituters", []) + values.get("extra-substituters", [])
        keys = values.get("trusted-public-keys", []) + values.get("extra-trusted-public-keys", [])
        return NixSettings(tuple(url.rstrip("/") for url in urls), tuple(keys))


def _read_conf(root: Path, path: Path, values: dict[str, list[str]], depth: int) -> None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0] in ("include", "!include") and depth < 8:
            included = Path(words[1])
            target = root / words[1].lstrip("/") if included.is_absolute() else path.parent / included
            _read_conf(root, target, values, depth + 1)
        elif len(words) >= 2 and words[1] == "=":
            if words[0].startswith("extra-"):
                values.setdefault(words[0], []).extend(words[2:])
            else:
                values[words[0]] = words[2:]
