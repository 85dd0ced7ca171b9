"""What `ncc serve` was asked for, and what services read from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from common.paths import default_socket, default_state_dir


@dataclass(frozen=True)
class ServeSettings:
    """What `ncc serve` runs. `services` empty: everything, the reconciler included."""

    services: tuple[str, ...] = ()
    state_dir: Path = field(default_factory=default_state_dir)
    socket: Path = field(default_factory=default_socket)
    root: Path = Path("/")
    split: bool = False
    metrics_port: int | None = None
    log_level: str = "info"
    log_format: str = "text"
    # Where spans go: a file, `otlp`, or nowhere.
    trace: str = ""
    # Services served elsewhere: name -> Unix socket path.
    service_sockets: dict[str, Path] = field(default_factory=dict)
    # Seconds between two full passes; each is moved by up to a fifth.
    resync_seconds: float = 300.0

    @property
    def runtime_dir(self) -> Path:
        """The folder of all sockets."""
        return self.socket.parent

    def service_socket(self, name: str) -> Path:
        """Where the service listens."""
        return self.service_sockets.get(name) or self.runtime_dir / f"{name}.sock"


def service_environment(name: str) -> dict[str, str]:
    """The service's own settings: `NCC_VM_URI=test:///default` is `{"uri": "test:///default"}` for vm."""
    prefix = f"NCC_{name.upper()}_"
    return {key[len(prefix) :].lower(): value for key, value in os.environ.items() if key.startswith(prefix)}
