"""An updater, asked through `ncc update`."""

from __future__ import annotations

import json
from typing import Any

from daemons import Daemon
from updater_flakes import SwitchedHost


class World:
    """The host, its daemon, and the command line."""

    def __init__(self, host: SwitchedHost, running: Daemon) -> None:
        self.host, self.daemon = host, running

    def run(self, *arguments: str, code: int, **how: Any) -> str:
        done = self.daemon.run("update", *arguments, **how)
        assert done.returncode == code, (
            f"{done.returncode}: {done.stdout}{done.stderr}\n{self.daemon.log[-3000:]}"
        )
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *arguments: str, code: int = 0) -> Any:
        done = self.daemon.run("update", *arguments, "-o", "json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def ended(self) -> Any:
        """The newest update, once it does not run any more."""
        row = self.json("show")
        return row if row["result"] != "RUNNING" else None

    def state(self) -> tuple[str, str, bytes]:
        """Versions of the running system and of the boot default, and the lock file."""
        return self.host.version, self.host.boot_version, self.host.lock
