"""Asks Nix about the options of a system that a flake has: all of them, or what one is set to and where.

The expression is fixed (options.nix); flake, host and path reach it as arguments, so that they stay data.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import as_file, files
from typing import Any

from common.errors import InvalidRequest, NotFound, WrongState
from common.nix.program import Nix
from services.system.drivers import option_sources
from services.system.options import paths
from services.system.options.models import Current, Definition, Option

_FLAKES = ("--extra-experimental-features", "nix-command flakes")
# Seconds. A whole NixOS has twenty thousand options.
_LIST, _VALUE = 900.0, 300.0


class OptionEvaluation:
    """`environment` is added to the daemon's own."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._nix = Nix(environment or {})

    def options(self, flake: str, host: str, cancel: threading.Event) -> Iterator[Option]:
        """All options of the host's configuration. Raises what evaluating does, Cancelled."""
        for entry in self._asked(flake, host, "list", (), _LIST, cancel):
            yield option_sources.documented(paths.show(entry["loc"]), entry)

    def current(self, flake: str, host: str, path: Sequence[str]) -> Current:
        """What the configuration makes of one option. NotFound where it has no such option."""
        found = self._asked(flake, host, "value", path, _VALUE)
        if not found["known"] and not found["readable"]:
            raise NotFound(f"the configuration of {host} has no option {paths.show(path)}")
        return Current(
            value_json=_text(found["value"]) if found["readable"] else "",
            is_defined=bool(found["defined"]),
            definitions=tuple(Definition(one["file"], _text(one["value"])) for one in found["definitions"]),
            why_unknown="" if found["readable"] else "the value can't be evaluated",
        )

    def _asked(
        self,
        flake: str,
        host: str,
        what: str,
        path: Sequence[str],
        timeout: float,
        cancel: threading.Event | None = None,
    ) -> Any:
        if not flake or flake.startswith("-") or "\0" in flake + host:
            raise InvalidRequest(f"{flake!r} is no flake reference")
        values = {"flake": flake, "host": host, "what": what, "path": json.dumps(list(path))}
        arguments = [part for name, value in values.items() for part in ("--argstr", name, value)]
        with as_file(files("services.system.drivers").joinpath("options.nix")) as expression:
            argv = ["nix-instantiate", "--eval", "--json", "--strict", *_FLAKES, str(expression), *arguments]
            found = self._nix.json(argv, timeout=timeout, cancel=cancel)
        if what == "list" and not found:
            raise WrongState(f"nixosConfigurations.{host} of {flake} has no options")
        return found


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
