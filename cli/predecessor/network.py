"""Name, firewall and exposures, SSH, wireless networks."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from cli.predecessor.documents import Documents
from cli.predecessor.keys import Keys
from cli.predecessor.tree import Path

_NETWORK: Path = ("core", "base", "network")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
# RFC 1918: what an exposure `local` lets in.
_LOCAL = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
# Ports of services that people expose: TCP, UDP.
_PORTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "adguard": ((53, 80, 443, 3000), (53,)),
    "adminer": ((8080,), ()),
    "bitwarden": ((80, 443), ()),
    "duplicati": ((8200,), ()),
    "gitea": ((3000, 22), ()),
    "grafana": ((3000,), ()),
    "homeassistant": ((8123,), (5353,)),
    "jellyfin": ((8096, 8920), (1900, 7359)),
    "nextcloud": ((80, 443), ()),
    "nginx": ((80, 443), ()),
    "nodered": ((1880,), ()),
    "pihole": ((53, 80), (53, 67)),
    "plex": ((32400, 3005, 8324, 32469), (1900, 5353, 32410, 32412, 32413, 32414)),
    "portainer": ((9000,), ()),
    "prometheus": ((9090,), ()),
    "qbittorrent": ((8080, 6881), (6881,)),
    "ssh": ((22,), ()),
    "syncthing": ((8384, 22000), (22000, 21027)),
    "traefik": ((80, 443), ()),
    "transmission": ((9091, 51413), (51413,)),
    "wireguard": ((), (51820,)),
}
# Where NetworkManager's profiles take passphrases from: lines NAME=passphrase.
_WIRELESS_SECRETS = "/etc/nixos/secrets/wifi.env"


def take(keys: Keys, documents: Documents, warnings: list[str]) -> None:
    """HostIdentity's name, `NixosOptions/firewall`, `/ssh`, `/network`."""
    _name(keys, documents)
    _firewall(keys, documents, warnings)
    _manager(keys, documents)
    _wireless(keys, documents)
    _ssh(keys, documents)


def _name(keys: Keys, documents: Documents) -> None:
    at = (*_NETWORK, "hostName")
    name = keys.get(at, str)
    if name is None:
        return
    if _HOST_NAME.fullmatch(name):
        keys.took(at, documents.resource("HostIdentity", "host", hostname=name))
    else:
        keys.refused(at, "is no host name: letters, digits and - only, at most 63 of them")


def _firewall(keys: Keys, documents: Documents, warnings: list[str]) -> None:
    at = (*_NETWORK, "firewall", "enable")
    on = keys.get(at, bool)
    if on is not None:
        keys.took(at, documents.option("firewall", "networking.firewall.enable", on))
    rules: list[str] = []
    at = (*_NETWORK, "firewall", "trustedNetworks")
    for text in keys.get(at, list) or ():
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            keys.refused(at, "holds something that is no network (such as 192.168.1.0/24); none was taken")
            rules = []
            break
        rules.append(_rule(network, ""))
    else:
        if keys.has(at) and isinstance(keys.value(at), list):
            keys.took(at, "NixosOptions/firewall")
    for service in keys.children((*_NETWORK, "services")):
        rules += _exposure(keys, documents, service)
    if rules:
        documents.option("firewall", "networking.firewall.extraCommands", "".join(f"{r}\n" for r in rules))
    if on is not False:
        warnings.append(
            "the predecessor let private networks in to the ports of about twenty services, declared or not; "
            "only the exposures that stand in the configuration were taken. Open what is missing in "
            "NixosOptions/firewall (networking.firewall.allowedTCPPorts)"
        )


def _exposure(keys: Keys, documents: Documents, service: str) -> list[str]:
    at = (*_NETWORK, "services", service, "exposure")
    exposure = keys.get(at, str)
    if exposure is None:
        return []
    if service not in _PORTS:
        keys.refused(at, "its ports are not known: add them to networking.firewall.allowedTCPPorts")
        return []
    tcp, udp = _PORTS[service]
    if exposure == "public":
        into = ""
        if tcp:
            into = documents.option("firewall", "networking.firewall.allowedTCPPorts", list(tcp))
        if udp:
            into = documents.option("firewall", "networking.firewall.allowedUDPPorts", list(udp))
        keys.took(at, into)
        return []
    if exposure != "local":
        keys.refused(at, "must be local or public")
        return []
    keys.took(at, "NixosOptions/firewall")
    matches = [
        f"-p {protocol} --dport {port} " for protocol, ports in (("tcp", tcp), ("udp", udp)) for port in ports
    ]
    return [_rule(ipaddress.ip_network(network), match) for network in _LOCAL for match in matches]


def _rule(network: Any, match: str) -> str:
    """A line for the firewall's start script; made of numbers only."""
    tables = "iptables" if network.version == 4 else "ip6tables"
    return f"{tables} -A nixos-fw -s {network} {match}-j nixos-fw-accept"


def _manager(keys: Keys, documents: Documents) -> None:
    at = (*_NETWORK, "networkManager", "dns")
    dns = keys.get(at, str)
    if dns in ("default", "dnsmasq", "systemd-resolved", "none"):
        keys.took(at, documents.option("network", "networking.networkmanager.dns", dns))
    elif dns is not None:
        keys.refused(at, "must be default, dnsmasq, systemd-resolved or none")
    at = (*_NETWORK, "enablePowersave")
    save = keys.get(at, bool)
    if save is not None:
        keys.took(at, documents.option("network", "networking.networkmanager.wifi.powersave", save))
    if keys.below(_NETWORK):
        # The predecessor has nothing else that brings the network up.
        documents.option("network", "networking.networkmanager.enable", True)


def _wireless(keys: Keys, documents: Documents) -> None:
    wifi = (*_NETWORK, "wifi")
    manager = ("networking", "networkmanager", "ensureProfiles")
    for name in keys.children((*wifi, "networks")):
        at = (*wifi, "networks", name)
        profile = (*manager, "profiles", name)
        ssid = keys.get((*at, "ssid"), str) or name
        into = documents.option("network", (*profile, "connection", "id"), name)
        documents.option("network", (*profile, "connection", "type"), "wifi")
        documents.option("network", (*profile, "wifi", "ssid"), ssid)
        keys.took((*at, "ssid"), into)
        connect = keys.get((*at, "autoconnect"), bool)
        if connect is not None:
            documents.option("network", (*profile, "connection", "autoconnect"), connect)
            keys.took((*at, "autoconnect"), into)
        priority = keys.get((*at, "priority"), int)
        if priority is not None:
            documents.option("network", (*profile, "connection", "autoconnect-priority"), priority)
            keys.took((*at, "priority"), into)
        given = [field for field in ("psk", "pskFile") if keys.get((*at, field), str) is not None]
        variable = "PSK_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
        for field in given:
            text = (
                f"a passphrase is never copied: add {variable}=PASSPHRASE to {_WIRELESS_SECRETS} (mode 0600)"
            )
            keys.changed((*at, field), into, text)
        if given:
            security = (*profile, "wifi-security")
            documents.option("network", (*security, "key-mgmt"), "wpa-psk")
            documents.option("network", (*security, "psk"), f"${variable}")
            documents.option("network", (*manager, "environmentFiles"), [_WIRELESS_SECRETS])
    for name in ("enable", "preserveSystemConnections"):
        if keys.get((*wifi, name), bool) is not None:
            keys.changed(
                (*wifi, name), "", "NetworkManager keeps its own connections over rebuilds by itself"
            )


def _ssh(keys: Keys, documents: Documents) -> None:
    at = "overrides.enableSSH"
    on = keys.get(at, bool)
    if on is not None:
        keys.took(at, documents.option("ssh", "services.openssh.enable", on))
    for at in (
        "modules.security.ssh-server-manager.enable",
        "core.management.system-manager.features.ssh-server-manager",
    ):
        on = keys.get(at, bool)
        if on:
            into = documents.option("ssh", "services.openssh.enable", True)
            for name, value in (
                ("PasswordAuthentication", False),
                ("KbdInteractiveAuthentication", False),
                ("PermitRootLogin", "no"),
            ):
                documents.option("ssh", ("services", "openssh", "settings", name), value)
            text = "keys only, no root, as there; its requests for temporary passwords don't exist here"
            keys.changed(at, into, text)
        elif on is False:
            keys.took(at, "", "off there, off here")
    at = "modules.security.ssh-server-manager.banner"
    banner = keys.get(at, str)
    if banner:
        keys.took(at, documents.option("ssh", "services.openssh.banner", banner))
    elif banner == "":
        keys.took(at, "", "empty: nothing was set")
