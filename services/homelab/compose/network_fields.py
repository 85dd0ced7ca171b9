"""How a service is reached, and whose namespaces it shares."""

from __future__ import annotations

from typing import Any

from services.homelab.compose import ports as port_text
from services.homelab.compose.reading import Reading
from services.homelab.compose.scalars import Wrong, mapping, sequence, string, strings


def ports(value: Any, path: str, at: Reading) -> None:
    for index, entry in enumerate(sequence(value)):
        where = f"{path}[{index}]"
        if isinstance(entry, dict):
            at.findings.unknown(entry, port_text.LONG, where)
            for key in sorted(entry.keys() & {"mode", "name", "app_protocol"}):
                at.findings.ignored(f"{where}.{key}", "says nothing about how the port is reached")
        try:
            for port in port_text.ports(entry):
                if port in at.found.ports:
                    at.findings.ignored(where, "is published already: all addresses of the host lead to it")
                else:
                    at.found.ports.append(port)
        except Wrong as error:
            at.findings.fault(where, str(error))


def networks(value: Any, path: str, at: Reading) -> None:
    if at.service.get("network_mode"):
        raise Wrong("excludes network_mode")
    entries = value if isinstance(value, dict) else dict.fromkeys(strings(value))
    for name, options in entries.items():
        where = f"{path}.{name}"
        if name not in at.around.networks:
            raise Wrong(f"the network {name} is not among the file's networks")
        one = at.found.networks.add(network=at.around.networks[name], aliases=[at.name])
        for key, given in mapping(options).items():
            if key == "aliases":
                one.aliases.extend(alias for alias in strings(given) if alias not in one.aliases)
            elif key in ("ipv4_address", "ipv6_address"):
                setattr(one, key, string(given))
            elif key in ("priority", "gw_priority"):
                at.findings.ignored(f"{where}.{key}", "the engine chooses the order")
            elif not key.startswith("x-"):
                at.findings.unsupported(f"{where}.{key}", "is not offered here")


def network_mode(value: Any, path: str, at: Reading) -> None:
    mode = string(value)
    if mode == "default":
        mode = "bridge"
    if mode in ("none", "host", "bridge") or mode.startswith(("service:", "container:")):
        at.found.network_mode = _shared(mode, at)
    else:
        # Any other word is the engine's name of a network.
        at.found.networks.add(network=mode)


def pid(value: Any, path: str, at: Reading) -> None:
    at.found.pid_mode = _shared(string(value), at)


def ipc(value: Any, path: str, at: Reading) -> None:
    at.found.ipc_mode = _shared(string(value), at)


def _shared(mode: str, at: Reading) -> str:
    word, mark, name = mode.partition(":")
    if word != "service":
        return mode
    if not mark or name not in at.around.containers:
        raise Wrong(f"there is no service {name}")
    return f"container:{at.around.containers[name]}"


def extra_hosts(value: Any, path: str, at: Reading) -> None:
    if isinstance(value, dict):
        for name, addresses in value.items():
            at.found.extra_hosts.extend(f"{name}:{one}" for one in strings(addresses))
        return
    for one in strings(value):
        name, mark, address = one.partition("=" if "=" in one else ":")
        if not mark:
            raise Wrong(f"{one!r} must be NAME=ADDRESS")
        at.found.extra_hosts.append(f"{name}:{address.strip('[]')}")
