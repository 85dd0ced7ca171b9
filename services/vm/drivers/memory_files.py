"""Disk images and cloud-init seeds in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from common.errors import AlreadyExists, NotFound, WrongState
from services.vm.models import Image


class MemoryImages:
    """See Images."""

    def __init__(self) -> None:
        self.files: dict[str, Image] = {}

    def get(self, path: str, format: str = "") -> Image | None:
        """See Images."""
        image = self.files.get(path)
        if image is not None and format == "qcow2" != image.format:
            raise WrongState(f"{path} is no qcow2 image")
        return image

    def is_block(self, path: str) -> bool:
        """See Images."""
        return path.startswith("/dev/")

    def create(self, path: str, format: str, size: int | None, backing: str) -> None:
        """See Images."""
        if path in self.files:
            raise AlreadyExists(f"there is a file {path} already")
        below = self.files.get(backing) if backing else None
        if backing and below is None:
            raise NotFound(f"the backing image {backing} of {path} does not exist")
        if size is None:
            size = below.size if below is not None else 0
        self.files[path] = Image(path, format, size, backing)

    def copy(self, path: str, format: str, to: str, cancel: threading.Event) -> None:
        """See Images."""
        if path not in self.files:
            raise NotFound(f"there is no disk image {path}")
        self.files[to] = Image(to, format, self.files[path].size)

    def grow(self, path: str, format: str, size: int) -> None:
        """See Images."""
        self.files[path] = replace(self.files[path], size=size)

    def remove(self, path: str) -> None:
        """See Images."""
        self.files.pop(path, None)


class MemorySeeds:
    """See Seeds."""

    def __init__(self) -> None:
        self.seeds: dict[str, Mapping[str, bytes]] = {}
        # Files of the host that hold user-data.
        self.host: dict[str, bytes] = {}

    def path(self, machine: str) -> str:
        """See Seeds."""
        return f"/seeds/{machine}.iso"

    def read(self, path: str) -> Mapping[str, bytes] | None:
        """See Seeds."""
        return self.seeds.get(path)

    def write(self, path: str, files: Mapping[str, bytes]) -> None:
        """See Seeds."""
        self.seeds[path] = dict(files)

    def remove(self, path: str) -> None:
        """See Seeds."""
        self.seeds.pop(path, None)

    def user_data(self, path: str) -> bytes:
        """See Seeds."""
        try:
            return self.host[path]
        except KeyError:
            raise NotFound(f"cloud_init.user_data_path: there is no file {path}") from None
