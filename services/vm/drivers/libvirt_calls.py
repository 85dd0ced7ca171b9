"""How libvirt is called: through the one connection, its errors translated, names looked up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from common.errors import NotFound
from services.vm.drivers.libvirt_connection import Connection
from services.vm.drivers.libvirt_errors import to_control_error


class Calls:
    """What the parts of the driver share."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @contextmanager
    def connected(self, what: str) -> Iterator[Any]:
        """The virConnect; libvirt's errors within become ControlErrors that begin with `what`."""
        connection = self._connection.get()
        try:
            yield connection
        except libvirt.libvirtError as error:
            self._connection.lost(error)
            raise to_control_error(error, what) from error

    @contextmanager
    def domain(self, name: str, what: str) -> Iterator[Any]:
        """The virDomain. NotFound where there is none."""
        with self.connected(f"{what} {name}") as connection:
            yield connection.lookupByName(name)

    @contextmanager
    def network(self, name: str, what: str) -> Iterator[Any]:
        """The virNetwork. NotFound where there is none."""
        with self.connected(f"{what} network {name}") as connection:
            yield connection.networkLookupByName(name)

    @contextmanager
    def pool(self, name: str, what: str) -> Iterator[Any]:
        """The virStoragePool. NotFound where there is none."""
        with self.connected(f"{what} storage pool {name}") as connection:
            yield connection.storagePoolLookupByName(name)


@contextmanager
def missing_is_none() -> Iterator[None]:
    """Passes over NotFound: the caller returns None after the block."""
    try:
        yield
    except NotFound:
        return
