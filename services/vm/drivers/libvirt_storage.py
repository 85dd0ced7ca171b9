"""libvirt's storage pools and volumes."""

from __future__ import annotations

from collections.abc import Sequence

from services.vm.drivers.libvirt_calls import Calls, missing_is_none
from services.vm.models import Pool, Volume


class LibvirtStorage:
    """See Storage."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def pools(self) -> Sequence[str]:
        """See Storage."""
        with self._calls.connected("storage pools can't be listed") as connection:
            return sorted(pool.name() for pool in connection.listAllStoragePools())

    def pool(self, name: str) -> Pool | None:
        """See Storage."""
        with missing_is_none(), self._calls.pool(name, "reading") as pool:
            return Pool(
                name=pool.name(),
                autostart=bool(pool.autostart()) if pool.isPersistent() else False,
                active=bool(pool.isActive()),
                stored=pool.XMLDesc(),
            )
        return None

    def define_pool(self, xml: str) -> None:
        """See Storage."""
        with self._calls.connected("libvirt refuses the storage pool's definition") as connection:
            connection.storagePoolDefineXML(xml)

    def build_pool(self, name: str) -> None:
        """See Storage."""
        with self._calls.pool(name, "making the folder of") as pool:
            pool.build()

    def undefine_pool(self, name: str) -> None:
        """See Storage."""
        with self._calls.pool(name, "undefining") as pool:
            pool.undefine()

    def start_pool(self, name: str) -> None:
        """See Storage."""
        with self._calls.pool(name, "starting") as pool:
            pool.create()

    def stop_pool(self, name: str) -> None:
        """See Storage."""
        with self._calls.pool(name, "stopping") as pool:
            pool.destroy()

    def set_pool_autostart(self, name: str, value: bool) -> None:
        """See Storage."""
        with self._calls.pool(name, "changing the autostart of") as pool:
            pool.setAutostart(int(value))

    def volumes(self, pool: str) -> Sequence[Volume]:
        """See Storage. The folder itself is looked at, so that what others put there or took away is seen."""
        with self._calls.pool(pool, "listing the volumes of") as found:
            if not found.isActive():
                return ()
            found.refresh()
            listed = [
                Volume(pool, volume.name(), volume.path(), volume.XMLDesc())
                for volume in found.listAllVolumes()
            ]
        return sorted(listed, key=lambda volume: volume.name)

    def create_volume(self, pool: str, xml: str) -> None:
        """See Storage."""
        with self._calls.pool(pool, "making a volume in") as found:
            found.createXML(xml)

    def resize_volume(self, pool: str, name: str, capacity: int) -> None:
        """See Storage."""
        with self._calls.pool(pool, f"growing volume {name} of") as found:
            found.storageVolLookupByName(name).resize(capacity)

    def delete_volume(self, pool: str, name: str) -> None:
        """See Storage."""
        with self._calls.pool(pool, f"deleting volume {name} of") as found:
            found.storageVolLookupByName(name).delete()
