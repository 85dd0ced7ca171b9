"""The kind ContainerNetwork."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from common.errors import AlreadyExists, ControlError, Violation, WrongState
from common.manager import Action, Applied, Change, Detected, Detection, Emit, Report
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers import labels as engine_labels
from services.homelab.containers.differences import differing
from services.homelab.drivers.base import Engine, Json
from services.homelab.inspecting import listed_name
from services.homelab.kinds.hints import Hints, of_type

# The engine makes these itself.
_BUILT_IN = ("bridge", "host", "none", "podman")
_NO_LABELS: Mapping[str, str] = {}


class ContainerNetworkKind:
    """Networks of the engine, by name."""

    spec = pb.ContainerNetwork

    def __init__(self, engine: Engine, reason: str = "") -> None:
        self._engine = engine
        self._reason = reason
        self._hints = Hints(engine, of_type("network"))

    def unsupported(self) -> str:
        """See Kind."""
        return self._reason

    def validate(self, name: str, spec: pb.ContainerNetwork) -> Sequence[Violation]:
        """See Kind."""
        found: list[Violation] = []
        if name in _BUILT_IN:
            found.append(Violation("", f"{name} is made by the engine itself; choose another name"))
        for index, pool in enumerate(spec.address_pools.pools):
            found += _pool(f"address_pools.pools[{index}]", pool)
        return found

    def detect(self, keys: Sequence[str]) -> Mapping[str, Detection[pb.ContainerNetwork]]:
        """See Kind."""
        there = {str(row["Name"]): row for row in self._engine.networks.list()}
        return {key: Detected(read(there[key])) if key in there else None for key in keys}

    def apply(self, change: Change[pb.ContainerNetwork], report: Report) -> Applied:
        """See Kind."""
        if change.action is Action.DELETE or change.desired is None:
            return self.delete(change.key)
        return self.make(change.key, change.desired)

    def make(self, name: str, spec: pb.ContainerNetwork, labels: Mapping[str, str] = _NO_LABELS) -> Applied:
        """Brings it about. An engine can't change a network: one that differs and is empty is made anew."""
        networks = self._engine.networks
        there = networks.inspect(name)
        if there is not None and not differing(spec, read(there)):
            return Applied(f"{name}: was so already", changed=False)
        if there is not None:
            # Whoever is in it would be cut off, for good if we ended here.
            self._refuse_users(name)
            networks.remove(name)
        try:
            networks.create(name, body(spec, labels))
        except AlreadyExists:
            pass  # somebody was quicker; the next look tells whether it is the same
        except ControlError:
            if there is not None:
                networks.create(name, body(read(there), engine_labels.compose(there.get("Labels") or {})))
            raise
        return Applied(f"{name}: {'made anew' if there is not None else 'made'}")

    def delete(self, name: str) -> Applied:
        """Removes it; WrongState while containers are in it."""
        if self._engine.networks.inspect(name) is None:
            return Applied("was gone already", changed=False)
        self._refuse_users(name)
        self._engine.networks.remove(name)
        return Applied(f"{name}: removed")

    def enumerate(self) -> Sequence[str]:
        """See Enumerable."""
        return sorted(
            str(row["Name"]) for row in self._engine.networks.list() if row["Name"] not in _BUILT_IN
        )

    def watch(self, emit: Emit) -> None:
        """See Watchable."""
        self._hints.start(emit)

    def hold(self, keys: Sequence[str]) -> None:
        """See Watchable: events come for all."""

    def drop(self, keys: Sequence[str]) -> None:
        """See Watchable."""

    def close(self) -> None:
        """See Watchable."""
        self._hints.stop()

    def _refuse_users(self, name: str) -> None:
        users = sorted(
            listed_name(row)
            for row in self._engine.containers.list()
            if name in ((row.get("NetworkSettings") or {}).get("Networks") or {})
        )
        if users:
            raise WrongState(
                f"{', '.join(users)} {'is' if len(users) == 1 else 'are'} in the network {name}, and an engine can't "
                "change or remove a network that is used",
                next_step="remove them first, or take them out of it: docker network disconnect",
            )


def body(spec: pb.ContainerNetwork, labels: Mapping[str, str] = _NO_LABELS) -> Json:
    """The create body; `labels` come beside the spec's own."""
    found: Json = {"Driver": spec.driver or "bridge", "Labels": {**spec.labels, **labels}}
    for name, word in (("internal", "Internal"), ("ipv6", "EnableIPv6"), ("attachable", "Attachable")):
        if spec.HasField(name):  # type: ignore[arg-type]
            found[word] = getattr(spec, name)
    if spec.options:
        found["Options"] = dict(spec.options)
    if spec.HasField("address_pools"):
        words = (("subnet", "Subnet"), ("gateway", "Gateway"), ("ip_range", "IPRange"))
        found["IPAM"] = {
            "Config": [
                {word: getattr(pool, name) for name, word in words if getattr(pool, name)}
                for pool in spec.address_pools.pools
            ]
        }
    return found


def read(told: Json) -> pb.ContainerNetwork:
    """The spec that would make such a network."""
    found = pb.ContainerNetwork(
        driver=str(told.get("Driver") or "bridge"),
        internal=bool(told.get("Internal")),
        ipv6=bool(told.get("EnableIPv6")),
        attachable=bool(told.get("Attachable")),
        options=told.get("Options") or {},
        labels=engine_labels.own(told.get("Labels") or {}),
    )
    found.address_pools.SetInParent()
    for row in (told.get("IPAM") or {}).get("Config") or ():
        pool = found.address_pools.pools.add(subnet=str(row.get("Subnet", "")))
        for word, name in (("Gateway", "gateway"), ("IPRange", "ip_range")):
            if row.get(word):
                setattr(pool, name, str(row[word]))
    return found


def _pool(path: str, pool: pb.AddressPool) -> Sequence[Violation]:
    try:
        subnet = ipaddress.ip_network(pool.subnet)
    except ValueError as error:
        return [Violation(f"{path}.subnet", str(error))]
    found = []
    try:
        if pool.gateway and ipaddress.ip_address(pool.gateway) not in subnet:
            found.append(Violation(f"{path}.gateway", f"is not in {subnet}"))
    except ValueError as error:
        found.append(Violation(f"{path}.gateway", str(error)))
    try:
        if pool.ip_range:
            inner = ipaddress.ip_network(pool.ip_range)
            if inner.network_address not in subnet or inner.broadcast_address not in subnet:
                found.append(Violation(f"{path}.ip_range", f"is not in {subnet}"))
    except ValueError as error:
        found.append(Violation(f"{path}.ip_range", str(error)))
    return found
