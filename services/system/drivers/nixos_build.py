"""Builds systems from flakes, and tells which source a flake stands at."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

from common.errors import InvalidRequest
from common.nix.program import Nix, Report
from nixcc.resource.v1.resource_pb2 import Renderings
from services.system.generation import desired
from services.system.generation.models import Built, Wish

# The flake input that desired.json comes in by; a flake without it is built as it is.
INPUT = "nixcc-desired"


class NixosBuilder:
    """`state` keeps the link to the last system built; `desired` is the flake input's folder."""

    def __init__(self, root: Path, state: Path, desired: Path) -> None:
        self._nix = Nix()
        self._root, self._state, self._desired = root, state, desired

    def build(self, wish: Wish, report: Report, cancel: threading.Event) -> Built:
        """Builds it; what is built already is taken as it is.

        Raises InvalidRequest (neither flake nor toplevel; an evaluation error), NotFound (no such attribute), what a
        build said, Cancelled.
        """
        if wish.toplevel:
            return Built(os.path.realpath(wish.toplevel))
        if not wish.flake:
            raise InvalidRequest("say what to build: a flake or a toplevel")
        locked = self.source(wish.flake, cancel)
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = wish.attribute or self.host_name()
        path = self._nix.build(
            f"building {name}",
            f"{wish.flake}#nixosConfigurations.{json.dumps(name)}.config.system.build.toplevel",
            report,
            cancel,
            out_link=self._state / "built",
            arguments=self._override(),
        )
        return Built(os.path.realpath(path), locked)

    def source(self, flake: str, cancel: threading.Event | None = None) -> str:
        """The flake's source in the store, which its content names; equal sources build equal systems."""
        self._prepare()
        argv = ["flake", "metadata", "--json", "--no-write-lock-file", flake]
        return str(self._nix.json(argv, cancel=cancel)["path"])

    def host_name(self) -> str:
        """The host's own name, which its configuration is usually called."""
        try:
            return (self._root / "etc/hostname").read_text().strip() or socket.gethostname()
        except OSError:
            return socket.gethostname()

    def _override(self) -> tuple[str, ...]:
        return ("--override-input", INPUT, f"path:{self._desired}")

    def _prepare(self) -> None:
        """A flake may name the input that we fill before anything was ever declared."""
        if not (self._desired / "flake.nix").exists():
            desired.write(self._desired, desired.merge(Renderings()))


def local(flake: str) -> bool:
    """Whether a flake is on this machine, so that looking at it costs no network."""
    return flake.startswith(("/", "./", "../", "~", "path:", "git+file:"))
