"""The host's own Nix, git, channels and network, and the system service beside us."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from common.nix.program import Nix
from services.updater.drivers.base import HostSystem
from services.updater.drivers.nix_channels import NixChannels
from services.updater.drivers.nix_flakes import NixFlakes
from services.updater.drivers.notify import HostNotifier
from services.updater.drivers.system_service import SystemService


class NixUpdaterDriver:
    """One host under `root`; `socket` is the system service's."""

    name = "nix"

    def __init__(
        self,
        root: Path,
        socket: Path,
        environment: Mapping[str, str] | None = None,
        system: HostSystem | None = None,
    ) -> None:
        environment = environment or {}
        self._path = environment.get("PATH") or os.environ.get("PATH")
        self._service = SystemService(socket)
        self._system: HostSystem = system or self._service
        self.flakes = NixFlakes(Nix(environment), root)
        self.channels = NixChannels(root, environment)
        self.notifier = HostNotifier()

    @property
    def system(self) -> HostSystem:
        return self._system

    def error(self) -> str:
        if shutil.which("nix", path=self._path) is None:
            return "there is no nix on this host; install Nix"
        return ""

    def close(self) -> None:
        self._service.close()
