"""`links` with an alias: a name by which one service finds another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.compose.scalars import Wrong, strings
from services.homelab.compose.verdicts import Findings


def give_aliases(services: Mapping[str, Any], specs: Mapping[str, pb.Container], findings: Findings) -> None:
    """Gives what is linked to its alias in each network of both: the others there find it by that name, too."""
    for name, service in services.items():
        path = f"services.{name}.links"
        try:
            links = strings(service.get("links"))
        except Wrong:
            continue  # told where the services are put in order
        for link in links:
            other, _, alias = link.partition(":")
            if not alias or alias == other or other not in specs:
                continue
            mine = {one.network for one in specs[name].networks}
            shared = [one for one in specs[other].networks if one.network in mine]
            if not shared:
                findings.unsupported(path, f"{name} and {other} are in no network together")
            for attachment in shared:
                holder = _holder(alias, attachment.network, other, specs)
                if holder:
                    said = f"{alias} is the name of {holder} in the network {attachment.network}"
                    findings.unsupported(path, said)
                elif alias not in attachment.aliases:
                    attachment.aliases.append(alias)


def _holder(alias: str, network: str, but: str, specs: Mapping[str, pb.Container]) -> str:
    """The service that is found by that name already; empty: none is."""
    for name, spec in specs.items():
        if name != but and any(alias in one.aliases for one in spec.networks if one.network == network):
            return name
    return ""
