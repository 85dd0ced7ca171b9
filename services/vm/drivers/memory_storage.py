"""Networks, pools and volumes in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from common.errors import AlreadyExists, NotFound, WrongState
from services.vm.models import Network, Pool, Subject, Volume
from services.vm.xml.tree import dump, ensure, parse, set_size, size_of, text_of

Tell = Callable[[Subject, str], None]


@dataclass
class _Network:
    stored: Element
    live: Element | None = None
    autostart: bool = False


class MemoryNetworks:
    """See Networks."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._networks: dict[str, _Network] = {}

    def names(self) -> Sequence[str]:
        """See Networks."""
        return sorted(self._networks)

    def get(self, name: str) -> Network | None:
        """See Networks."""
        network = self._networks.get(name)
        if network is None:
            return None
        live = dump(network.live) if network.live is not None else None
        return Network(name, network.autostart, dump(network.stored), live)

    def define(self, xml: str) -> None:
        """See Networks."""
        root = parse(xml)
        name = text_of(root, "name")
        self._networks.setdefault(name, _Network(root)).stored = root
        self._tell(Subject.NETWORK, name)

    def undefine(self, name: str) -> None:
        """See Networks."""
        self._find(name)
        del self._networks[name]
        self._tell(Subject.NETWORK, name)

    def start(self, name: str) -> None:
        """See Networks."""
        network = self._find(name)
        if network.live is not None:
            raise WrongState(f"network {name} is up already")
        network.live = parse(dump(network.stored))
        self._tell(Subject.NETWORK, name)

    def stop(self, name: str) -> None:
        """See Networks."""
        network = self._find(name)
        if network.live is None:
            raise WrongState(f"network {name} is down already")
        network.live = None
        self._tell(Subject.NETWORK, name)

    def set_autostart(self, name: str, value: bool) -> None:
        """See Networks."""
        self._find(name).autostart = value

    def update_dhcp(self, name: str, add: bool, xml: str) -> None:
        """See Networks."""
        live = self._find(name).live
        if live is None:
            raise WrongState(f"network {name} is down")
        item = parse(xml)
        dhcp = ensure(ensure(live, "ip"), "dhcp")
        if add:
            dhcp.append(item)
        for found in [] if add else dhcp.findall(item.tag):
            if found.attrib == item.attrib:
                dhcp.remove(found)

    def _find(self, name: str) -> _Network:
        try:
            return self._networks[name]
        except KeyError:
            raise NotFound(f"there is no network {name}") from None


@dataclass
class _Pool:
    root: Element
    active: bool = False
    autostart: bool = False
    volumes: dict[str, Element] = field(default_factory=dict)


class MemoryStorage:
    """See Storage."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._pools: dict[str, _Pool] = {}

    def pools(self) -> Sequence[str]:
        """See Storage."""
        return sorted(self._pools)

    def pool(self, name: str) -> Pool | None:
        """See Storage."""
        pool = self._pools.get(name)
        return None if pool is None else Pool(name, pool.autostart, pool.active, dump(pool.root))

    def define_pool(self, xml: str) -> None:
        """See Storage."""
        root = parse(xml)
        name = text_of(root, "name")
        self._pools.setdefault(name, _Pool(root)).root = root
        self._tell(Subject.POOL, name)

    def build_pool(self, name: str) -> None:
        """See Storage."""
        self._find(name)

    def undefine_pool(self, name: str) -> None:
        """See Storage."""
        if self._find(name).active:
            raise WrongState(f"storage pool {name} is in use")
        del self._pools[name]
        self._tell(Subject.POOL, name)

    def start_pool(self, name: str) -> None:
        """See Storage."""
        self._switch(name, True)

    def stop_pool(self, name: str) -> None:
        """See Storage."""
        self._switch(name, False)

    def set_pool_autostart(self, name: str, value: bool) -> None:
        """See Storage."""
        self._find(name).autostart = value

    def volumes(self, pool: str) -> Sequence[Volume]:
        """See Storage."""
        found = self._find(pool)
        folder = text_of(found.root, "target/path")
        rows = sorted(found.volumes.items()) if found.active else ()
        return [Volume(pool, name, f"{folder}/{name}", dump(root)) for name, root in rows]

    def create_volume(self, pool: str, xml: str) -> None:
        """See Storage."""
        root = parse(xml)
        found, name = self._find(pool), text_of(root, "name")
        if name in found.volumes:
            raise AlreadyExists(f"storage pool {pool} has a volume {name} already")
        found.volumes[name] = root

    def resize_volume(self, pool: str, name: str, capacity: int) -> None:
        """See Storage."""
        root = self._volume(pool, name)
        if capacity < (size_of(root.find("capacity"), "b") or 0):
            raise WrongState(f"volume {name} can't shrink")
        set_size(root, "capacity", capacity)

    def delete_volume(self, pool: str, name: str) -> None:
        """See Storage."""
        self._volume(pool, name)
        del self._pools[pool].volumes[name]

    def _find(self, name: str) -> _Pool:
        try:
            return self._pools[name]
        except KeyError:
            raise NotFound(f"there is no storage pool {name}") from None

    def _volume(self, pool: str, name: str) -> Element:
        try:
            return self._find(pool).volumes[name]
        except KeyError:
            raise NotFound(f"storage pool {pool} has no volume {name}") from None

    def _switch(self, name: str, active: bool) -> None:
        pool = self._find(name)
        if pool.active == active:
            raise WrongState(f"storage pool {name} is {'in' if active else 'out of'} use already")
        pool.active = active
        self._tell(Subject.POOL, name)
