"""Networks and volumes of a compose file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nixcc.homelab.v1 import container_pb2, stack_pb2
from services.homelab.compose.scalars import Wrong, boolean, mapping, pairs, sequence, string
from services.homelab.compose.verdicts import Findings

# Of secrets and configs.
_SWARM = frozenset({"labels", "driver", "driver_opts", "template_driver"})
_COMMON = frozenset({"name", "external", "driver", "driver_opts", "labels"})


def names(section: Mapping[str, Any], project: str) -> dict[str, str]:
    """The engine's names by those in the file."""
    found = {}
    for key, value in section.items():
        external = value.get("external")
        inner = external.get("name") if isinstance(external, dict) else None
        named = value.get("name") or inner
        if isinstance(named, str):
            found[key] = named
        else:
            found[key] = key if external else f"{project}_{key}"
    return found


def networks(
    section: Mapping[str, Any], named: Mapping[str, str], used: frozenset[str], findings: Findings
) -> tuple[stack_pb2.StackNetwork, ...]:
    """Those that a service is in."""
    found = []
    for key, value in section.items():
        path = f"networks.{key}"
        if key not in used:
            findings.ignored(path, "no service is in it")
            continue
        one = stack_pb2.StackNetwork(name=named[key])
        if not _external(value, path, findings):
            try:
                one.spec.CopyFrom(_network(value, path, findings))
            except Wrong as error:
                findings.fault(path, str(error))
        found.append(one)
    return tuple(found)


def volumes(
    section: Mapping[str, Any], named: Mapping[str, str], findings: Findings
) -> tuple[stack_pb2.StackVolume, ...]:
    """All of them: what they hold is kept, whether they are used or not."""
    found = []
    for key, value in section.items():
        path = f"volumes.{key}"
        one = stack_pb2.StackVolume(name=named[key])
        if not _external(value, path, findings):
            try:
                spec = container_pb2.ContainerVolume(driver=string(value.get("driver") or "local"))
                _texts(spec.options, value.get("driver_opts"))
                _texts(spec.labels, value.get("labels"))
                one.spec.CopyFrom(spec)
            except Wrong as error:
                findings.fault(path, str(error))
            _told(value, path, _COMMON, findings)
        found.append(one)
    return tuple(found)


def _network(value: Mapping[str, Any], path: str, findings: Findings) -> container_pb2.ContainerNetwork:
    found = container_pb2.ContainerNetwork(driver=string(value.get("driver") or "bridge"))
    for key, field in (("internal", "internal"), ("attachable", "attachable"), ("enable_ipv6", "ipv6")):
        if value.get(key) is not None:
            setattr(found, field, boolean(value[key]))
    _texts(found.options, value.get("driver_opts"))
    _texts(found.labels, value.get("labels"))
    ipam = mapping(value.get("ipam"))
    findings.unknown(ipam, ("driver", "config", "options"), f"{path}.ipam")
    for index, row in enumerate(sequence(ipam.get("config"))):
        fields = mapping(row)
        where = f"{path}.ipam.config[{index}]"
        findings.unknown(fields, ("subnet", "gateway", "ip_range", "aux_addresses"), where)
        if fields.get("subnet"):
            pool = found.address_pools.pools.add(subnet=string(fields["subnet"]))
            for key in ("gateway", "ip_range"):
                if fields.get(key):
                    setattr(pool, key, string(fields[key]))
        if fields.get("aux_addresses"):
            findings.ignored(f"{where}.aux_addresses", "no addresses are held back; use ip_range")
    if ipam.get("driver") not in (None, "default"):
        findings.unsupported(f"{path}.ipam.driver", "the engine's own gives out addresses")
    if ipam.get("options"):
        findings.ignored(f"{path}.ipam.options", "the engine's own gives out addresses")
    _told(value, path, _COMMON | {"internal", "attachable", "enable_ipv6", "ipam"}, findings)
    return found


def _external(value: Mapping[str, Any], path: str, findings: Findings) -> bool:
    external = value.get("external")
    try:
        found = bool(external) if isinstance(external, dict) else boolean(external or False)
    except Wrong as error:
        findings.fault(f"{path}.external", str(error))
        return True
    if found:
        for key in value:
            if key in ("external", "name"):
                findings.taken(f"{path}.{key}")
            else:
                findings.ignored(f"{path}.{key}", "it is made by somebody else")
    return found


def files(section: str, declared: Mapping[str, Any], findings: Findings) -> None:
    """What becomes of the fields of `secrets` and `configs`; what holds no file is told where it is used."""
    for name, value in declared.items():
        path = f"{section}.{name}"
        known = {"file", "content", "environment", "external", "name"}
        findings.unknown(value, {*known, *_SWARM}, path)
        for key in value:
            if key == "file":
                findings.taken(f"{path}.file")
            elif key in _SWARM:
                findings.ignored(f"{path}.{key}", "is for swarms")
            elif key == "name":
                findings.ignored(f"{path}.name", "is the name in a swarm")


def _told(value: Mapping[str, Any], path: str, known: frozenset[str], findings: Findings) -> None:
    for key in value:
        where = f"{path}.{key}"
        if key in known:
            findings.taken(where)
        elif key.startswith("x-"):
            findings.ignored(where, "x- fields are for whoever reads the file")
        elif key == "enable_ipv4":
            findings.ignored(where, "networks have IPv4")
        else:
            findings.unsupported(where, "compose knows no such field here")


def _texts(found: Any, value: Any) -> None:
    for name, one in pairs(value).items():
        if not name.startswith(("com.docker.compose.", "io.nixcc.")):
            found[name] = one or ""
