"""Language, desktop, sound, hardware and boot loader: what choices become in NixOS options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cli.predecessor.documents import Documents
from cli.predecessor.keys import Keys

# By key: value -> options. A choice that is not there is refused.
Choices = Mapping[str, Mapping[str, Any]]

_ENVIRONMENT: Choices = {
    "plasma": {"services.desktopManager.plasma6.enable": True},
    "gnome": {"services.xserver.desktopManager.gnome.enable": True},
    "xfce": {"services.xserver.desktopManager.xfce.enable": True},
}
_MANAGER: Choices = {
    "sddm": {"services.displayManager.sddm.enable": True},
    "gdm": {"services.xserver.displayManager.gdm.enable": True},
    "lightdm": {"services.xserver.displayManager.lightdm.enable": True},
}
_AUDIO: Choices = {
    "pipewire": {
        "security.rtkit.enable": True,
        "services.pipewire.enable": True,
        "services.pipewire.alsa.enable": True,
        "services.pipewire.pulse.enable": True,
    },
    "pulseaudio": {"services.pipewire.enable": False, "hardware.pulseaudio.enable": True},
    "alsa": {"services.pipewire.enable": False, "hardware.pulseaudio.enable": False},
    "none": {"services.pipewire.enable": False, "hardware.pulseaudio.enable": False},
}
_INTEL = {"hardware.cpu.intel.updateMicrocode": True, "boot.kernelModules": ["kvm-intel"]}
_AMD = {"hardware.cpu.amd.updateMicrocode": True, "boot.kernelModules": ["kvm-amd"]}
_CPU: Choices = {
    "intel": _INTEL,
    "intel-core": _INTEL,
    "intel-xeon": _INTEL,
    "amd": _AMD,
    "amd-ryzen": _AMD,
    "amd-epyc": _AMD,
    "vm-cpu": {"services.qemuGuest.enable": True},
    "none": {},
}
_GRAPHICS = {"hardware.graphics.enable": True, "hardware.graphics.enable32Bit": True}
_NVIDIA = {
    **_GRAPHICS,
    "services.xserver.videoDrivers": ["nvidia"],
    "hardware.nvidia.modesetting.enable": True,
    "hardware.nvidia.open": True,
}
_RADEON = {
    **_GRAPHICS,
    "services.xserver.videoDrivers": ["amdgpu"],
    "boot.initrd.kernelModules": ["amdgpu"],
    "hardware.enableRedistributableFirmware": True,
}
_IGPU = {"hardware.graphics.enable": True, "services.xserver.videoDrivers": ["modesetting"]}
_GUEST = {
    "hardware.graphics.enable": True,
    "services.xserver.videoDrivers": ["qxl", "modesetting"],
    "services.spice-vdagentd.enable": True,
}
_GPU: Choices = {
    "nvidia": _NVIDIA,
    "nvidia-sli": _NVIDIA,
    "nvidia-intel": _NVIDIA,
    "nvidia-optimus": _NVIDIA,
    "nvidia-amd": _NVIDIA,
    "amd": _RADEON,
    "amd-amd": _RADEON,
    "amd-crossfire": _RADEON,
    "amd-intel": _RADEON,
    "intel": _IGPU,
    "intel-igpu": _IGPU,
    "vm-gpu": _GUEST,
    "qxl-virtual": _GUEST,
    "virtio-virtual": _GUEST,
    "basic-virtual": _GUEST,
    "none": {},
}
_BOOT: Choices = {
    "systemd-boot": {
        "boot.loader.systemd-boot.enable": True,
        "boot.loader.grub.enable": False,
        "boot.loader.efi.canTouchEfiVariables": True,
    },
    "grub": {
        "boot.loader.grub.enable": True,
        "boot.loader.grub.efiSupport": True,
        "boot.loader.grub.device": "nodev",
        "boot.loader.efi.canTouchEfiVariables": True,
        "boot.loader.efi.efiSysMountPoint": "/boot/efi",
    },
}
_LOCALE = re.compile(r"[A-Za-z]{1,8}(_[A-Za-z]{2,4})?(\.[A-Za-z0-9-]{1,16})?(@[A-Za-z0-9]{1,16})?")
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")


def take(keys: Keys, documents: Documents, warnings: list[str]) -> None:
    """`HostIdentity/host`, and NixosOptions `localization`, `desktop`, `audio`, `hardware`, `boot`."""
    _localization(keys, documents)
    _desktop(keys, documents)
    if keys.get("core.base.audio.enable", bool) is False:
        keys.took("core.base.audio.enable", "", "off there, off here")
        keys.took("core.base.audio.system", "", "sound is off")
    else:
        keys.took("core.base.audio.enable", "NixosOptions/audio")
        _choose(keys, documents, "audio", "core.base.audio.system", _AUDIO)
    _choose(keys, documents, "hardware", "core.base.hardware.cpu", _CPU)
    _gpu(keys, documents, warnings)
    at = "core.base.hardware.ram.sizeGB"
    if keys.get(at, int) is not None:
        keys.changed(at, "", "memory is read from the kernel; ncc hardware recommend says what to tune")
    at = "core.base.boot.bootloader"
    if keys.value(at) == "refind":
        text = "NixOS has had no module for rEFInd, nor had the predecessor: choose systemd-boot or grub"
        keys.refused(at, text)
    else:
        _choose(keys, documents, "boot", at, _BOOT)


def _choose(keys: Keys, documents: Documents, topic: str, at: str, choices: Choices) -> str | None:
    """Takes a choice; gives it, None where there is none or it can't be taken."""
    choice = keys.get(at, str)
    if choice is None:
        return None
    options = choices.get(choice)
    if options is None:
        keys.refused(at, f"must be one of {', '.join(choices)}")
        return None
    into = f"NixosOptions/{topic}" if options else ""
    for path, value in options.items():
        documents.option(topic, path, value)
    keys.took(at, into)
    return choice


def _localization(keys: Keys, documents: Documents) -> None:
    base = "core.base.localization"
    zone = keys.get(f"{base}.timeZone", str)
    if zone is not None:
        if _ZONE.fullmatch(zone):
            into = documents.resource("HostIdentity", "host", time_zone=zone)
            keys.took(f"{base}.timeZone", into)
        else:
            keys.refused(f"{base}.timeZone", "is no name of the time zone database, such as Europe/Berlin")
    locales = keys.get(f"{base}.locales", list)
    if locales == []:
        keys.took(f"{base}.locales", "", "empty: nothing was set")
    elif locales is not None and all(_LOCALE.fullmatch(one) for one in locales):
        into = documents.resource("HostIdentity", "host", locale=locales[0])
        kept = [
            f"{one}/{one.rpartition('.')[2]}" for one in ("C.UTF-8", "en_US.UTF-8", *locales) if "." in one
        ]
        into = f"{into}, {documents.option('localization', 'i18n.supportedLocales', kept)}"
        keys.took(f"{base}.locales", into)
    elif locales is not None:
        keys.refused(f"{base}.locales", "holds something that is no locale, such as de_DE.UTF-8")
    layout = keys.get(f"{base}.keyboardLayout", str)
    if layout:
        documents.option("localization", "console.keyMap", layout)
        into = documents.option("localization", "services.xserver.xkb.layout", layout)
        keys.took(f"{base}.keyboardLayout", into)
    options = keys.get(f"{base}.keyboardOptions", str)
    if options:
        into = documents.option("localization", "services.xserver.xkb.options", options)
        keys.took(f"{base}.keyboardOptions", into)
    for name, text in (("keyboardLayout", layout), ("keyboardOptions", options)):
        if text == "":
            keys.took(f"{base}.{name}", "", "empty: nothing was set")


def _desktop(keys: Keys, documents: Documents) -> None:
    base = "core.base.desktop"
    if keys.get(f"{base}.enable", bool) is False:
        for path in keys.below(base):
            keys.took(path, "", "the desktop is off there, and is off here")
        return
    if not keys.below(base):
        return
    keys.took(f"{base}.enable", documents.option("desktop", "services.xserver.enable", True))
    # At first the desktop was one word.
    at = base if keys.has(base) and keys.value(base) != {} else f"{base}.environment"
    _choose(keys, documents, "desktop", at, _ENVIRONMENT)
    manager = _choose(keys, documents, "desktop", f"{base}.display.manager", _MANAGER)
    server = keys.get(f"{base}.display.server", str)
    if server in ("wayland", "hybrid", "x11"):
        wayland = server != "x11"
        into = "NixosOptions/desktop"
        if manager == "sddm":
            documents.option("desktop", "services.displayManager.sddm.wayland.enable", wayland)
        elif manager == "gdm":
            documents.option("desktop", "services.xserver.displayManager.gdm.wayland", wayland)
        keys.took(f"{base}.display.server", into)
    elif server is not None:
        keys.refused(f"{base}.display.server", "must be wayland, x11 or hybrid")
    session = keys.get(f"{base}.display.session", str)
    if session:
        into = documents.option("desktop", "services.displayManager.defaultSession", session)
        keys.took(f"{base}.display.session", into)
    elif session == "":
        keys.took(f"{base}.display.session", "", "empty: nothing was set")
    at = f"{base}.theme.dark"
    if keys.get(at, bool) is not None:
        keys.refused(at, "a theme belongs to each user's session, and NixOS has no option for it")
    for name in ("pinnedApps", "pinnedAppsAuto", "pinnedAppsForce"):
        if keys.has(f"{base}.{name}"):
            keys.refused(f"{base}.{name}", "what is pinned belongs to each user's session")


def _gpu(keys: Keys, documents: Documents, warnings: list[str]) -> None:
    at = "core.base.hardware.gpu"
    choice = _choose(keys, documents, "hardware", at, _GPU)
    if choice is None or not choice.startswith("nvidia"):
        return
    text = "with the open kernel modules: for cards before Turing set hardware.nvidia.open to false"
    if choice in ("nvidia-intel", "nvidia-optimus", "nvidia-amd"):
        text += "; PRIME needs the bus ids of both cards (hardware.nvidia.prime): ncc hardware shows them"
        warnings.append(f"the graphics {choice} need hardware.nvidia.prime with this machine's bus ids")
    keys.changed(at, "NixosOptions/hardware", text)
