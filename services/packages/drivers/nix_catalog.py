"""Lists a flake's packages with `nix-env -qaP --json --meta`, and makes the index of them in a process of its own.

Of the ways there are (`nix search` tells no licence; one `nix eval` of all ends at the first package that fails) it
is the one that nixpkgs makes its own packages.json with.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from common.errors import CommandFailed, InvalidRequest, Unsupported
from common.process import stream
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers.base import Tell
from services.packages.drivers.nix import failed, nix
from services.packages.drivers.nix_profile import lock
from services.packages.models import Lock

# What people say reaches it as strings, never as code.
_EXPRESSION = """{ url, system }:
let flake = builtins.getFlake url;
in (flake.legacyPackages.${system} or { }) // (flake.packages.${system} or { })
"""
# Its output can be 200 MB: into a file, past us.
_INTO_FILE = 'exec "$@" > "$NCC_LISTING"'
# Seconds.
_EVALUATION, _INDEXING = 3_600.0, 900.0


class NixCatalog:
    """See CatalogDriver. `unsupported` says why flakes can't be read here; prebuilt files can."""

    def __init__(self, unsupported: str = "") -> None:
        self._unsupported = unsupported
        self._system = ""

    def lock(self, flake: str) -> Lock:
        """See CatalogDriver."""
        if self._unsupported:
            raise Unsupported(self._unsupported)
        return lock(flake)

    def build(
        self, lock: Lock, source: str, target: str, before: str, tell: Tell, cancel: threading.Event
    ) -> None:
        """See CatalogDriver."""
        with tempfile.TemporaryDirectory(prefix="listing-", dir=Path(target).parent) as folder:
            listing = source
            if not source:
                tell(Progress(message=f"evaluating the packages of {lock.locked_url}"))
                listing = f"{folder}/packages.json"
                self._list(lock, Path(folder), listing, tell, cancel)
            _index(lock, listing, target, before, tell, cancel)

    def _list(self, lock: Lock, folder: Path, listing: str, tell: Tell, cancel: threading.Event) -> None:
        if not self._system:
            self._system = nix(["eval", "--impure", "--raw", "--expr", "builtins.currentSystem"]).text.strip()
        expression = folder / "packages.nix"
        expression.write_text(_EXPRESSION, encoding="utf-8")
        command = ["nix-env", "--extra-experimental-features", "nix-command flakes", "-f", str(expression)]
        command += ["--argstr", "url", lock.locked_url, "--argstr", "system", self._system]
        command += ["-qaP", "--json", "--meta"]
        try:
            stream(
                ["/bin/sh", "-c", _INTO_FILE, "sh", *command],
                on_line=lambda line: tell(Progress(message="evaluating", log_line=line[:2000])),
                cancel=cancel,
                timeout=_EVALUATION,
                env={"NCC_LISTING": listing},
            )
        except CommandFailed as error:
            raise failed(error) from error


def _index(lock: Lock, listing: str, target: str, before: str, tell: Tell, cancel: threading.Event) -> None:
    facts = {
        "flake": lock.flake,
        "locked_url": lock.locked_url,
        "revision": lock.revision,
        "created": time.time(),
    }

    def line(text: str) -> None:
        if text.isdecimal():
            tell(Progress(message=f"{text} packages indexed"))
        else:
            tell(Progress(message="indexing", log_line=text[:2000]))

    module = "services.packages.drivers.index_build"
    argv = [sys.executable, "-m", module, listing, target, before, json.dumps(facts)]
    try:
        # Where we are run by a wrapper, the interpreter alone does not know where our modules are.
        path = os.pathsep.join(filter(None, sys.path))
        stream(argv, on_line=line, cancel=cancel, timeout=_INDEXING, env={"PYTHONPATH": path})
    except CommandFailed as error:
        cause = error.stderr.strip().rpartition("\n")[2].partition(": ")[2]
        raise InvalidRequest(
            f"{listing} can't be indexed: {cause or error.stderr[-300:]}",
            next_step="give what `nix-env -qaP --json --meta` prints, or a packages.json of nixpkgs",
        ) from error
