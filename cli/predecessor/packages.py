"""Package modules, packages, and what they switch on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from cli.predecessor.documents import Documents, resource_name
from cli.predecessor.keys import Keys
from cli.predecessor.tree import Path

_AT: Path = ("core", "base", "packages")
_MANAGER: Path = ("core", "management", "system-manager")
# An attribute path of nixpkgs.
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_'+-]*(\.[A-Za-z0-9_][A-Za-z0-9_'+-]*)*")


class Module(NamedTuple):
    """What a package module stands for: packages of nixpkgs and NixOS options."""

    packages: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    # What is not as it was there; empty: nothing.
    why: str = ""
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


_DOCKER = {"virtualisation.docker.enable": True, "virtualisation.docker.autoPrune.enable": True}
_ROOTLESS = {
    "virtualisation.docker.rootless.enable": True,
    "virtualisation.docker.rootless.setSocketVariable": True,
}
MODULES: dict[str, Module] = {
    "streaming": Module(("obs-studio", "streamlink")),
    "emulation": Module(("retroarch", "dolphin-emu", "pcsx2", "rpcs3", "cemu")),
    "gaming": Module(("heroic", "lutris", "mangohud", "vesktop"), {"programs.steam.enable": True}),
    "game-dev": Module(("godot_4", "blender", "gimp", "inkscape", "krita")),
    "web-dev": Module(("nodejs", "yarn", "pnpm", "deno", "vscode", "httpie", "jq", "sqlite")),
    "python-dev": Module(
        ("python3", "ruff", "uv"), why="Python with its tools; libraries belong to each project's environment"
    ),
    "system-dev": Module(("cmake", "ninja", "gcc", "clang")),
    # How it runs is decided once for all: see _docker.
    "docker": Module(("docker-compose",), conflicts=("podman",)),
    "docker-rootless": Module(("docker-compose",), conflicts=("podman",)),
    "podman": Module(
        ("podman-compose",),
        {"virtualisation.podman.enable": True, "virtualisation.podman.dockerCompat": True},
        conflicts=("docker", "docker-rootless"),
    ),
    "qemu-vm": Module(("qemu", "socat", "spice-gtk"), {"virtualisation.libvirtd.enable": True}),
    "virt-manager": Module(("virt-viewer",), {"programs.virt-manager.enable": True}, requires=("qemu-vm",)),
    "database": Module((), {"services.postgresql.enable": True}, "PostgreSQL; there it was empty"),
    "web-server": Module((), {"services.nginx.enable": True}, "nginx without sites; there it was empty"),
    "mail-server": Module((), {}, "it was empty there, and is here: declare the mail server you want"),
}
# The older form: a set of switches.
_SWITCHES: dict[Path, tuple[str, ...]] = {
    ("gaming", "streaming"): ("streaming",),
    ("gaming", "emulation"): ("emulation",),
    ("development", "game"): ("game-dev",),
    ("development", "web"): ("web-dev",),
    ("development", "python"): ("python-dev",),
    ("development", "system"): ("system-dev",),
    ("development", "virtualization"): ("qemu-vm", "virt-manager"),
    ("server", "docker"): ("docker",),
    ("server", "web"): ("web-server",),
    ("server", "mail"): ("mail-server",),
}


def take(keys: Keys, documents: Documents, warnings: list[str], version: str) -> None:
    """Packages as `Package` and `PackageSet`, and the options that belong to them. `version`: `0`, `1` or `2`."""
    desktop = keys.get("core.base.desktop.enable", bool)
    if desktop is None:
        desktop = keys.value((*_MANAGER, "systemType")) != "server"
    chosen = _list(keys, documents) + _switches(keys, documents, desktop)
    if "docker" in chosen and "podman" in chosen:
        warnings.append(
            "docker and podman were both chosen, and both would answer to `docker`: remove one "
            "(PackageSet and virtualisation.podman.dockerCompat)"
        )
    _packages(keys, documents)
    _docker(keys, documents, chosen, version)
    at = (*_MANAGER, "allowUnfree")
    unfree = keys.get(at, bool)
    if unfree is not None:
        keys.took(at, documents.option("packages", "nixpkgs.config", {"allowUnfree": unfree}))
    at = ("overrides", "enableSteam")
    steam = keys.get(at, bool)
    if steam is not None:
        keys.took(at, documents.option("packages", "programs.steam.enable", steam))


def _list(keys: Keys, documents: Documents) -> list[str]:
    chosen: list[str] = []
    for at in ((*_AT, "packageModules"), (*_AT, "preset", "modules")):
        if keys.value(at) == {}:
            continue
        names = keys.get(at, list)
        if names is None:
            continue
        unknown = [name for name in names if name not in MODULES]
        known = [name for name in names if name in MODULES]
        into = ", ".join(dict.fromkeys(_module(documents, name) for name in known))
        notes = [f"{name}: {MODULES[name].why}" for name in known if MODULES[name].why]
        if unknown:
            text = f"{len(unknown)} of {len(names)} names are no package module of it and were left out"
            keys.changed(at, into, "; ".join([text, *notes])) if known else keys.refused(at, text)
        elif notes:
            keys.changed(at, into, "; ".join(notes))
        else:
            keys.took(at, into, "" if names else "empty: nothing was set")
        chosen += known
    return chosen


def _switches(keys: Keys, documents: Documents, desktop: bool) -> list[str]:
    chosen: list[str] = []
    root = (*_AT, "packageModules")
    for path in list(keys.open(root)):
        switch = path[len(root) :]
        modules = _SWITCHES.get(switch) or ((switch[0],) if len(switch) == 1 and switch[0] in MODULES else ())
        if not switch or not modules:
            continue
        on = keys.get(path, bool)
        if on is False:
            keys.took(path, "", "off there, off here")
        elif on:
            names = [name for name in modules if name != "virt-manager" or desktop]
            into = ", ".join(_module(documents, name) for name in names)
            notes = [MODULES[name].why for name in names if MODULES[name].why]
            if notes:
                keys.changed(path, into, "; ".join(notes))
            else:
                keys.took(path, into)
            chosen += names
    return chosen


def _module(documents: Documents, name: str) -> str:
    module = MODULES[name]
    into = ""
    for path, value in module.options.items():
        into = documents.option("packages", path, value)
    if module.packages:
        for required in module.requires:
            _module(documents, required)
        into = documents.package_set(name, module.packages, module.requires, module.conflicts)
    return into


def _packages(keys: Keys, documents: Documents) -> None:
    _take_list(keys, documents, (*_AT, "systemPackages"), "")
    users = [(*_AT, "userPackages", user) for user in keys.children((*_AT, "userPackages"))]
    base: Path = ("core", "base", "user")
    users += [(*base, user, "userPackages") for user in keys.children(base)]
    users += [(*base, user, "environment", "systemPackages") for user in keys.children(base)]
    for at in users:
        _take_list(keys, documents, at, "for everybody, not for one user only")


def _take_list(keys: Keys, documents: Documents, at: Path, why: str) -> None:
    names = keys.get(at, list)
    if names is None:
        return
    good = [name for name in names if _ATTRIBUTE.fullmatch(name) and resource_name(name)]
    into = [documents.package(name) for name in good]
    if len(good) < len(names):
        text = f"{len(names) - len(good)} of {len(names)} are no attribute paths of nixpkgs and were left out"
        if not good:
            keys.refused(at, text)
            return
        why = f"{why}; {text}" if why else text
    if why and names:
        keys.changed(at, ", ".join(into[:3]) + (" …" if len(into) > 3 else ""), why)
    else:
        keys.took(at, ", ".join(into[:3]) + (" …" if len(into) > 3 else ""))


def _docker(keys: Keys, documents: Documents, chosen: list[str], version: str) -> None:
    at = (*_AT, "docker")
    on, root = keys.get((*at, "enable"), bool), keys.get((*at, "root"), bool)
    wanted = bool(on) or "docker" in chosen or "docker-rootless" in chosen
    into = ""
    if wanted:
        into = _module(documents, "docker") if on else ""
        if root is None:
            root = _ran_as_root(keys, version) and (bool(on) or "docker" in chosen)
        for path, value in (_DOCKER if root else _ROOTLESS).items():
            into = documents.option("packages", path, value)
    keys.took((*at, "enable"), into, "" if on else "off there, off here")
    if keys.value((*at, "root")) is not None:
        keys.took((*at, "root"), into, "" if wanted else "says nothing where docker is off")


def _ran_as_root(keys: Keys, version: str) -> bool:
    """Whether the predecessor ran Docker's daemon as root where nobody said: later only for those who needed it."""
    modules: Path = ("modules",)
    swarm = keys.value((*modules, "infrastructure", "homelab-manager", "swarm"))
    workspace = keys.value((*modules, "specialized", "ai-workspace", "enable"))
    feature = keys.value((*_MANAGER, "features", "ai-workspace"))
    return version != "2" or isinstance(swarm, str) or workspace is True or feature is True
