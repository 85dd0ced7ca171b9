"""The kind VirtualNetwork."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from common.errors import ControlError, HostUnavailable, NotFound, Violation, WrongState
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.vm.v1 import network_pb2 as pb
from services.vm.drivers.base import VmDriver
from services.vm.kinds.hints import Hints
from services.vm.kinds.pending import differing
from services.vm.models import Network, Subject
from services.vm.xml.network import edit_network, host_element, new_network, range_element, read_network
from services.vm.xml.tree import canonical, dump, has, parse


class VirtualNetworkKind:
    """Networks, by libvirt's name of them."""

    spec = pb.VirtualNetwork

    def __init__(self, driver: VmDriver, reason: str = "") -> None:
        self._driver = driver
        self._reason = reason
        self._hints = Hints(driver, Subject.NETWORK)

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.VirtualNetwork) -> Sequence[Violation]:
        """See Kind. Writes addresses as libvirt tells them back."""
        return list(_check(spec))

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.VirtualNetwork]]:
        """See Kind."""
        found: dict[str, Detection[pb.VirtualNetwork]] = {}
        for key in keys:
            try:
                network = self._driver.networks.get(key)
                found[key] = None if network is None else _observe(network)
            except ControlError as error:
                found[key] = error
        return found

    def apply(self, change: Change[pb.VirtualNetwork], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            return self._delete(change.key)
        return self._make_so(change.key, change.desired)

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return self._driver.networks.names()

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._hints.start(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: events come for all networks."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._hints.stop()

    def _make_so(self, name: str, spec: pb.VirtualNetwork) -> Applied:
        networks = self._driver.networks
        network = networks.get(name)
        root = parse(network.stored) if network is not None else new_network(name)
        before = canonical(root) if network is not None else ""
        edit_network(root, spec)
        done: list[str] = []
        if canonical(root) != before or (network is not None and not network.persistent):
            networks.define(dump(root))
            done.append("defined" if network is None else "changed")
        network = _there(networks.get(name), name)
        if spec.HasField("autostart") and network.autostart != spec.autostart:
            networks.set_autostart(name, spec.autostart)
            done.append(f"autostart {'on' if spec.autostart else 'off'}")
        if spec.HasField("running"):
            done.extend(filter(None, [self._switch(network, spec.running)]))
        network = _there(networks.get(name), name)
        if network.live is None:
            return Applied(f"{name}: {', '.join(done) or 'was so already'}", changed=bool(done))
        if self._carry_over_dhcp(network):
            done.append("changed its DHCP server")
            network = _there(networks.get(name), name)
        waiting = _observe(network).pending
        told = [*done, *([f"waits until it is started anew: {', '.join(waiting)}"] if waiting else [])]
        message = f"{name}: {', '.join(told) or 'was so already'}"
        return Applied(message, changed=bool(done), pending=waiting)

    def _switch(self, network: Network, running: bool) -> str:
        networks = self._driver.networks
        if running == (network.live is not None):
            return ""
        try:
            (networks.start if running else networks.stop)(network.name)
        except WrongState:
            now = networks.get(network.name)
            if now is None or running != (now.live is not None):
                raise
        return "started" if running else "stopped"

    def _carry_over_dhcp(self, network: Network) -> bool:
        """Ranges and fixed addresses change while the network is up, where its subnet stays."""
        stored, live = (
            read_network(parse(text)) for text in (network.stored, network.live or network.stored)
        )
        if stored.subnet != live.subnet or not (stored.HasField("dhcp") and live.HasField("dhcp")):
            return False
        steps = [(False, dump(range_element(r))) for r in live.dhcp.ranges if r not in stored.dhcp.ranges]
        steps += [(False, dump(host_element(h))) for h in live.dhcp.hosts if h not in stored.dhcp.hosts]
        steps += [(True, dump(range_element(r))) for r in stored.dhcp.ranges if r not in live.dhcp.ranges]
        steps += [(True, dump(host_element(h))) for h in stored.dhcp.hosts if h not in live.dhcp.hosts]
        for add, xml in steps:
            try:
                self._driver.networks.update_dhcp(network.name, add, xml)
            except HostUnavailable:
                raise
            except ControlError:
                # What libvirt can't do while it is up is told as pending.
                continue
        return bool(steps)

    def _delete(self, name: str) -> Applied:
        networks = self._driver.networks
        network = networks.get(name)
        if network is None:
            return Applied("was gone already", changed=False)
        self._switch(network, False)
        try:
            networks.undefine(name)
        except NotFound:
            # One that was never stored is gone once it is down.
            if networks.get(name) is not None:
                raise
        return Applied(f"{name} is gone")


def _observe(network: Network) -> Detected[pb.VirtualNetwork]:
    spec = read_network(parse(network.stored))
    waiting: list[str] = []
    if network.live is not None:
        waiting = differing(spec, read_network(parse(network.live)))
    spec.autostart = network.autostart
    if network.persistent:
        spec.running = network.live is not None
    return Detected(spec, pending=waiting)


def _check(spec: pb.VirtualNetwork) -> Iterator[Violation]:
    bridged = spec.mode == pb.NETWORK_MODE_BRIDGE
    if bridged and not spec.bridge:
        yield Violation("bridge", "must be set for BRIDGE: the host's own bridge")
    if bridged:
        for field in ("subnet", "dhcp"):
            if has(spec, field):
                yield Violation(field, "is the business of whoever runs the bridge")
        if spec.domain:
            yield Violation("domain", "is the business of whoever runs the bridge")
    subnet = None
    if spec.HasField("subnet"):
        try:
            subnet = ipaddress.ip_interface(spec.subnet)
        except ValueError as error:
            yield Violation("subnet", f"is no address with a prefix: {error}")
        else:
            spec.subnet = str(subnet)
            if subnet.ip == subnet.network.network_address and subnet.network.num_addresses > 2:
                yield Violation(
                    "subnet", f"names the network; give the host's address, {subnet.network[1]} or another"
                )
    if (spec.dhcp.ranges or spec.dhcp.hosts) and not spec.HasField("subnet"):
        yield Violation("dhcp", "needs subnet")
    yield from _check_dhcp(spec.dhcp, subnet.network if subnet is not None else None)


def _check_dhcp(
    dhcp: pb.Dhcp, network: ipaddress.IPv4Network | ipaddress.IPv6Network | None
) -> Iterator[Violation]:
    for index, item in enumerate(dhcp.ranges):
        yield from _check_address(item, "start", f"dhcp.ranges[{index}]", network)
        yield from _check_address(item, "end", f"dhcp.ranges[{index}]", network)
    macs: dict[str, int] = {}
    for index, host in enumerate(dhcp.hosts):
        host.mac = host.mac.lower()
        if macs.setdefault(host.mac, index) != index:
            yield Violation(f"dhcp.hosts[{index}].mac", f"is that of dhcp.hosts[{macs[host.mac]}]")
        yield from _check_address(host, "address", f"dhcp.hosts[{index}]", network)


def _check_address(
    item: pb.DhcpRange | pb.DhcpHost,
    field: str,
    where: str,
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None,
) -> Iterator[Violation]:
    try:
        address = ipaddress.ip_address(getattr(item, field))
    except ValueError as error:
        yield Violation(f"{where}.{field}", f"is no address: {error}")
        return
    setattr(item, field, str(address))
    if network is not None and address not in network:
        yield Violation(f"{where}.{field}", f"{address} is not in {network}")


def _there(network: Network | None, name: str) -> Network:
    if network is None:
        raise ControlError(f"network {name} went away while it was changed")
    return network
