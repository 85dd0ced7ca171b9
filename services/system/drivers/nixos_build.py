"""Builds systems from flakes, and tells which source a flake stands at."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from common import process
from common.errors import InvalidRequest
from nixcc.resource.v1.resource_pb2 import Progress
from services.system.generation.models import Built, Wish

Report = Callable[[Progress], None]

# The flake input that desired.json comes in by; a flake without it is built as it is.
INPUT = "nixcc-desired"
_NIX = ("nix", "--extra-experimental-features", "nix-command flakes")


class NixosBuilder:
    """Runs Nix. `state` keeps the link to the last system built; `desired` is the flake input's folder."""

    def __init__(self, root: Path, state: Path, desired: Path) -> None:
        self._root, self._state, self._desired = root, state, desired

    def build(self, wish: Wish, report: Report, cancel: threading.Event) -> Built:
        """Builds it; what is built already is taken as it is.

        Raises InvalidRequest (neither flake nor toplevel), NotFound (no such attribute), what the flake's evaluation or
        a build said, Cancelled.
        """
        if wish.toplevel:
            return Built(os.path.realpath(wish.toplevel))
        if not wish.flake:
            raise InvalidRequest("say what to build: a flake or a toplevel")
        locked = self.source(wish.flake)
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
        attribute = json.dumps(wish.attribute or self.host_name())
        installable = f"{wish.flake}#nixosConfigurations.{attribute}.config.system.build.toplevel"
        argv = [
            *_NIX,
            *("build", installable, "--json", "--no-write-lock-file"),
            *("--out-link", str(self._state / "built")),
            *self._override(),
        ]
        report(Progress(message=f"building {wish.attribute or self.host_name()} of {wish.flake}"))
        done = process.stream(
            argv, on_line=lambda line: report(Progress(message="building", log_line=line)), cancel=cancel
        )
        return Built(os.path.realpath(json.loads(done.stdout)[0]["outputs"]["out"]), locked)

    def source(self, flake: str) -> str:
        """The flake's source in the store, which its content names; equal sources build equal systems."""
        done = process.run([*_NIX, "flake", "metadata", "--json", "--no-write-lock-file", flake], timeout=120)
        return str(json.loads(done.stdout)["path"])

    def host_name(self) -> str:
        """The host's own name, which its configuration is usually called."""
        try:
            return (self._root / "etc/hostname").read_text().strip() or socket.gethostname()
        except OSError:
            return socket.gethostname()

    def _override(self) -> tuple[str, ...]:
        if not (self._desired / "flake.nix").exists():
            return ()
        return ("--override-input", INPUT, f"path:{self._desired}")


def local(flake: str) -> bool:
    """Whether a flake is on this machine, so that looking at it costs no network."""
    return flake.startswith(("/", "./", "../", "~", "path:", "git+file:"))
