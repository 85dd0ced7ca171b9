"""libvirt's networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libvirt

from services.vm.drivers.libvirt_calls import Calls, missing_is_none
from services.vm.models import Network
from services.vm.xml.tree import parse, text_of


class LibvirtNetworks:
    """See Networks."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def names(self) -> Sequence[str]:
        """See Networks."""
        with self._calls.connected("networks can't be listed") as connection:
            return sorted(network.name() for network in connection.listAllNetworks())

    def get(self, name: str) -> Network | None:
        """See Networks."""
        with missing_is_none(), self._calls.network(name, "reading") as network:
            persistent = bool(network.isPersistent())
            return Network(
                name=network.name(),
                autostart=bool(network.autostart()) if persistent else False,
                stored=_stored(network) if persistent else network.XMLDesc(),
                live=network.XMLDesc() if network.isActive() else None,
                persistent=persistent,
            )
        return None

    def define(self, xml: str) -> None:
        """See Networks."""
        with self._calls.connected("libvirt refuses the network's definition") as connection:
            if connection.getType() == "TEST" and text_of(parse(xml), "name") in connection.listNetworks():
                # It would never tell nor use the new definition of a network that is up.
                connection.networkLookupByName(text_of(parse(xml), "name")).destroy()
                connection.networkDefineXML(xml).create()
            else:
                connection.networkDefineXML(xml)

    def undefine(self, name: str) -> None:
        """See Networks."""
        with self._calls.network(name, "undefining") as network:
            network.undefine()

    def start(self, name: str) -> None:
        """See Networks."""
        with self._calls.network(name, "starting") as network:
            network.create()

    def stop(self, name: str) -> None:
        """See Networks."""
        with self._calls.network(name, "stopping") as network:
            network.destroy()

    def set_autostart(self, name: str, value: bool) -> None:
        """See Networks."""
        with self._calls.network(name, "changing the autostart of") as network:
            network.setAutostart(int(value))

    def update_dhcp(self, name: str, add: bool, xml: str) -> None:
        """See Networks."""
        section = (
            libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE
            if parse(xml).tag == "range"
            else libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
        )
        command = (
            libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST if add else libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
        )
        with self._calls.network(name, "changing the DHCP server of") as network:
            network.update(command, section, -1, xml, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE)


def _stored(network: Any) -> str:
    try:
        return str(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        # libvirt's test driver has one definition only.
        return str(network.XMLDesc())
