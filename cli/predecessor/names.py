"""Old names of keys -> those of version 2, and which version a configuration is of."""

from __future__ import annotations

from collections.abc import Mapping

from cli.predecessor.tree import Path

_BASE = ("core", "base")
_MANAGER = ("core", "management", "system-manager")
_MODULES = ("modules",)

# First name of a flat configuration (version 0, and version 1's system-config.nix) -> where it went.
_FLAT: Mapping[str, Path] = {
    "systemType": (*_MANAGER, "systemType"),
    "system": (*_MANAGER, "system"),
    "allowUnfree": (*_MANAGER, "allowUnfree"),
    "buildLogLevel": (*_MANAGER, "buildLogLevel"),
    "features": (*_MANAGER, "features"),
    "configVersion": (*_MANAGER, "configVersion"),
    "layout": (*_MANAGER, "layout"),
    "hostName": (*_BASE, "network", "hostName"),
    "networkManager": (*_BASE, "network", "networkManager"),
    "enablePowersave": (*_BASE, "network", "enablePowersave"),
    "enableFirewall": (*_BASE, "network", "firewall", "enable"),
    "packageModules": (*_BASE, "packages", "packageModules"),
    "users": (*_BASE, "user"),
    "desktop": (*_BASE, "desktop"),
    "hardware": (*_BASE, "hardware"),
    "timeZone": (*_BASE, "localization", "timeZone"),
    "locales": (*_BASE, "localization", "locales"),
    "keyboardLayout": (*_BASE, "localization", "keyboardLayout"),
    "keyboardOptions": (*_BASE, "localization", "keyboardOptions"),
    "overrides": ("overrides",),
    "sudo": ("sudo",),
    "email": ("hosting", "email"),
    "domain": ("hosting", "domain"),
    "certEmail": ("hosting", "certEmail"),
    # Before there were sets for them.
    "profileModules": (*_BASE, "packages", "packageModules"),
    "bootloader": (*_BASE, "boot", "bootloader"),
    "cpu": (*_BASE, "hardware", "cpu"),
    "gpu": (*_BASE, "hardware", "gpu"),
    "audio": (*_BASE, "audio", "system"),
    "displayManager": (*_BASE, "desktop", "display", "manager"),
    "displayServer": (*_BASE, "desktop", "display", "server"),
    "session": (*_BASE, "desktop", "display", "session"),
    "darkMode": (*_BASE, "desktop", "theme", "dark"),
    "entryManagement": (*_MANAGER, "features", "bootentry-manager"),
    "preflightChecks": (*_MANAGER, "features", "system-checks"),
    "postflightChecks": (*_MANAGER, "features", "system-checks-afterwards"),
    "sshManager": (*_MANAGER, "features", "ssh-client-manager"),
    "flakeUpdater": (*_MANAGER, "features", "system-updater"),
    "homelab": (*_MODULES, "infrastructure", "homelab-manager"),
}

# Then, longest first: what moved later, and what its own migration wrote one level too deep.
_MOVED: tuple[tuple[Path, Path], ...] = (
    ((*_BASE, "packages", "overrides"), ("overrides",)),
    ((*_BASE, "localization", "email"), ("hosting", "email")),
    ((*_BASE, "localization", "domain"), ("hosting", "domain")),
    ((*_BASE, "desktop", "desktop"), (*_BASE, "desktop")),
    ((*_BASE, "hardware", "hardware"), (*_BASE, "hardware")),
    ((*_BASE, "hardware", "memory"), (*_BASE, "hardware", "ram")),
    ((*_BASE, "desktop", "audio"), (*_BASE, "audio", "system")),
    ((*_BASE, "hardware", "audio"), (*_BASE, "audio", "system")),
    ((*_MANAGER, "system", "bootloader"), (*_BASE, "boot", "bootloader")),
    ((*_BASE, "bootloader"), (*_BASE, "boot", "bootloader")),
    ((*_MODULES, "system", "lock-manager"), (*_MODULES, "system", "lock")),
)


def canonical(path: Path) -> Path:
    """The key's name in version 2; unknown ones stay."""
    if path and path[0] in _FLAT:
        path = (*_FLAT[path[0]], *path[1:])
    for old, new in (*_MOVED, *_MOVED):
        if path[: len(old)] == old:
            path = (*new, *path[len(old) :])
    return path


def version_of(config_version: object, layout: str) -> str:
    """`0`, `1` or `2`: what the configuration says of itself, else what its layout tells."""
    text = str(config_version or "").strip()
    if text[:1] in ("0", "1", "2") and text[1:2] in ("", "."):
        return text[0]
    return {"flat": "0", "split": "1"}.get(layout, "2")
