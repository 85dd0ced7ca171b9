"""Virtual machines and homelab stacks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cli.predecessor.documents import Documents, resource_name
from cli.predecessor.keys import Keys
from cli.predecessor.tree import Path

_VM: Path = ("modules", "infrastructure", "vm")
_HOMELAB: Path = ("modules", "infrastructure", "homelab-manager")
_NO_STACKS = "the control center runs no compose stacks yet: keep it as it is, and start it as you did"
# `PASSWORD: x`, `- API_TOKEN=x`: what a compose file says in clear.
_SECRET = re.compile(
    r"(?im)^(?P<key>\s*(?:-\s*)?[\"']?[\w.-]*(?:pass|secret|token|key|credential|auth|pwd|dsn|database_url)[\w.-]*[\"']?\s*[:=]\s*)"
    r"(?P<value>\S.*)$"
)
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@]+@")


def take(keys: Keys, documents: Documents, texts: Mapping[str, str]) -> None:
    """VirtualMachines; stacks go into the report only. `texts`: compose files by path."""
    _machines(keys, documents)
    _stacks(keys, texts)


def masked(compose: str) -> str:
    """A compose file's text without the secrets in it."""
    return _URL.sub(r"\g<scheme>********@", _SECRET.sub(r"\g<key>********", compose))


def _machines(keys: Keys, documents: Documents) -> None:
    for at in ((*_VM, "enable"), ("core", "management", "system-manager", "features", "vm-manager")):
        on = keys.get(at, bool)
        if on:
            documents.option("machines", "programs.virt-manager.enable", True)
            keys.took(at, documents.option("machines", "virtualisation.libvirtd.enable", True))
        elif on is False:
            keys.took(at, "", "off there, off here")
    folder = keys.get((*_VM, "stateDir"), str) or "/var/lib/virt"
    if keys.has((*_VM, "stateDir")):
        keys.took((*_VM, "stateDir"), "", "the folder of the machines' images, unless they name others")
    storage = keys.get((*_VM, "storage", "enable"), bool)
    if storage is False:
        keys.took((*_VM, "storage", "enable"), "", "off there, off here")
    elif storage:
        keys.refused((*_VM, "storage", "enable"), "declare a StoragePool for the folder you want")
    for system in keys.children((*_VM, "testing")):
        _machine(keys, documents, system, folder)


def _machine(keys: Keys, documents: Documents, system: str, folder: str) -> None:
    at = (*_VM, "testing", system, "vm")
    name = resource_name(f"{system}-test")
    if not name or not keys.below(at):
        return
    if keys.get((*at, "enable"), bool) is False:
        for one in keys.below(at):
            keys.took(one, "", "off there, off here")
        return
    into = f"VirtualMachine/{name}"
    memory, cores = keys.get((*at, "memory"), int), keys.get((*at, "cores"), int)
    path = keys.get((*at, "image", "path"), str) or f"{folder}/testing/images/{system}-test.qcow2"
    size = keys.get((*at, "image", "size"), int)
    if not path.startswith("/"):
        keys.refused((*at, "image", "path"), "must be an absolute path")
        path = f"{folder}/testing/images/{name}.qcow2"
    elif keys.has((*at, "image", "path")):
        keys.took((*at, "image", "path"), into)
    disk: dict[str, object] = {"target": "vda", "path": str(path), "format": "QCOW2"}
    spec: dict[str, object] = {"running": False, "disks": [disk]}
    for field, value, least in (("cores", cores, 1), ("memory", memory, 1)):
        if value is None:
            continue
        if not least <= value <= (4096 if field == "cores" else 1 << 24):
            keys.refused((*at, field), "is out of range")
            continue
        spec["cpus" if field == "cores" else "memory"] = value if field == "cores" else f"{value}MiB"
        keys.took((*at, field), into)
    if size is not None and 0 < size <= 1 << 20:
        disk["size"] = f"{size}GiB"
        keys.took((*at, "image", "size"), into)
    elif size is not None:
        keys.refused((*at, "image", "size"), "is out of range")
    remote = keys.get((*at, "remote", "enable"), bool)
    port = keys.get((*at, "remote", "displayPort"), int)
    off = "" if remote else "off there, off here"
    if remote:
        spec["graphics"] = {"type": "SPICE"} | ({"port": port} if port and 0 < port < 65536 else {})
    keys.took((*at, "remote", "enable"), into if remote else "", off)
    if port is not None and remote and not 0 < port < 65536:
        keys.refused((*at, "remote", "displayPort"), "is no port")
    elif port is not None:
        keys.took((*at, "remote", "displayPort"), into if remote else "", off)
    for field in ("variant", "version"):
        if keys.has((*at, field)) and keys.value((*at, field)) is not None:
            text = "which installer it was made from is not kept: the image holds the system"
            keys.refused((*at, field), text)
    keys.took((*at, "enable"), into)
    documents.resource("VirtualMachine", name, **spec)


def _stacks(keys: Keys, texts: Mapping[str, str]) -> None:
    on = keys.get((*_HOMELAB, "enable"), bool)
    if on is False:
        keys.took((*_HOMELAB, "enable"), "", "off there, off here")
    elif on:
        keys.refused((*_HOMELAB, "enable"), _NO_STACKS)
    if keys.value((*_HOMELAB, "stacks")) == []:
        keys.took((*_HOMELAB, "stacks"), "", "empty: nothing was set")
    for path in list(keys.open((*_HOMELAB, "stacks"))):
        if path[-1] != "compose":
            keys.refused(path, _NO_STACKS)
            continue
        compose = keys.value(path)
        text = ""
        if isinstance(compose, str):
            text = compose if "\n" in compose else texts.get(compose, "")
        keys.refused(path, _NO_STACKS, masked(text))
    for path in list(keys.open(_HOMELAB)):
        if keys.value(path) is None:
            keys.took(path, "", "null: nothing was set")
        else:
            keys.refused(path, _NO_STACKS)
