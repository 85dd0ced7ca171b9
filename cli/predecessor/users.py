"""Users with their roles."""

from __future__ import annotations

import re

from cli.predecessor.documents import Documents
from cli.predecessor.keys import Keys
from cli.predecessor.tree import Path

_USERS: Path = ("core", "base", "user")
_TOPIC = "users"
# useradd(8)'s own rule, as NixOS checks it.
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}[$]?")

ROLES = {
    "admin": (
        *("wheel", "networkmanager", "docker", "podman", "video", "audio", "render", "input"),
        *("libvirtd", "kvm"),
    ),
    "restricted-admin": ("wheel", "networkmanager", "video", "audio", "libvirtd", "kvm"),
    "virtualization": ("docker", "podman", "libvirtd", "kvm"),
    "guest": ("networkmanager",),
}
ADMINS = ("admin", "restricted-admin")
# sudo's tag, by role.
_SUDO = {"admin": "NOPASSWD", "restricted-admin": "PASSWD"}
# Shells with a NixOS module that also makes them login shells; bash needs none.
_SHELLS = ("bash", "zsh", "fish", "xonsh")
# Where the predecessor itself looks for a user's password.
PASSWORD_FILE = "/etc/nixos/secrets/passwords/{}/.hashedPassword"  # noqa: S105 - a path
# Keys of a user that hold a password, in clear or hashed.
_PASSWORDS = ("initialPassword", "password", "hashedPassword", "initialHashedPassword")


def take(keys: Keys, documents: Documents, warnings: list[str]) -> None:
    """`users.users.<n>`, groups, sudo; warns where nobody could administer the host."""
    roles = {}
    for name in keys.children(_USERS):
        at = (*_USERS, name)
        if not keys.children(at):
            if name in ("enable", "_version"):
                keys.took(at, "", "the predecessor's own; users are always managed")
            continue
        if not _USER_NAME.fullmatch(name):
            _refuse_all(keys, at, "is no user name that Linux takes (lower-case letters, digits, _ and -)")
            continue
        role = _user(keys, documents, at)
        if role:
            roles[name] = role
    if roles:
        documents.option(_TOPIC, "users.mutableUsers", False)
        warnings.append(
            f"passwords are read from {PASSWORD_FILE.format('USER')} only, as mkpasswd writes them: look that there is "
            f"one for each of {', '.join(sorted(roles))} before you switch, or they can't log in"
        )
    _auto_login(keys, documents, list(roles))
    _sudo(keys, documents)
    if not any(role in ADMINS for role in roles.values()):
        who = f"{len(roles)} users, none of them" if roles else "no user"
        warnings.append(
            f"there is {who} with the role admin or restricted-admin: nobody could administer the host. "
            "Give one user that role before you apply this"
        )


def _user(keys: Keys, documents: Documents, at: Path) -> str:
    """One user; gives the role, empty where it can't be taken."""
    name, role_at = at[-1], (*at, "role")
    role = keys.get(role_at, str)
    if role not in ROLES:
        text = f"there is no role {role!r}" if role else "a user without a role can't be taken"
        if keys.has(role_at):
            keys.refused(role_at, f"{text}; choose among {', '.join(ROLES)}")
        _refuse_all(keys, at, f"{text}; choose among {', '.join(ROLES)}")
        return ""
    user = ("users", "users", name)
    into = documents.option(_TOPIC, (*user, "isNormalUser"), True)
    documents.option(_TOPIC, (*user, "home"), f"/home/{name}")
    documents.option(_TOPIC, (*user, "group"), name)
    documents.option(_TOPIC, ("users", "groups", name), {})
    documents.option(_TOPIC, (*user, "extraGroups"), list(ROLES[role]))
    documents.option(_TOPIC, (*user, "hashedPasswordFile"), PASSWORD_FILE.format(name))
    if role == "virtualization":
        documents.option(_TOPIC, (*user, "linger"), True)
    if tag := _SUDO.get(role):
        rule = {"users": [name], "commands": [{"command": "ALL", "options": [tag]}]}
        documents.option(_TOPIC, "security.sudo.extraRules", [rule])
    keys.took(role_at, into)
    shell_at = (*at, "defaultShell")
    shell = keys.get(shell_at, str)
    if shell in _SHELLS:
        documents.option(_TOPIC, (*user, "shell"), f"/run/current-system/sw/bin/{shell}")
        if shell != "bash":
            documents.option(_TOPIC, ("programs", shell, "enable"), True)
        keys.took(shell_at, into)
    elif shell:
        known = ", ".join(_SHELLS)
        keys.refused(
            shell_at,
            f"only {known} have a NixOS module; it stays bash until you set users.users.{name}.shell",
        )
    for field in _PASSWORDS:
        if keys.has((*at, field)):
            path = PASSWORD_FILE.format(name)
            text = f"a password is never copied: write `mkpasswd`'s output to {path}, which is read instead"
            keys.changed((*at, field), into, text)
    return role


def _auto_login(keys: Keys, documents: Documents, users: list[str]) -> None:
    desktop = keys.get("core.base.desktop.enable", bool)
    first = ""
    for name in users:
        at = (*_USERS, name, "autoLogin")
        wanted = keys.get(at, bool)
        if wanted is None:
            continue
        if not wanted:
            keys.took(at, "NixosOptions/users", "off there, off here")
        elif first:
            keys.refused(at, f"one user can log in by itself, and {first} does")
        elif desktop:
            first = name
            documents.option(_TOPIC, "services.displayManager.autoLogin", {"enable": True, "user": name})
            keys.took(at, "NixosOptions/users")
        else:
            first = name
            into = documents.option(_TOPIC, "services.getty.autologinUser", name)
            keys.changed(at, into, "there is no desktop: at all consoles instead of the first")


def _sudo(keys: Keys, documents: Documents) -> None:
    required = keys.get("sudo.requirePassword", bool)
    if required is not None:
        into = documents.option(_TOPIC, "security.sudo.wheelNeedsPassword", required)
        keys.took("sudo.requirePassword", into)
    timeout = keys.get("sudo.timeout", int)
    if timeout is not None:
        into = documents.option(
            _TOPIC, "security.sudo.extraConfig", f"Defaults timestamp_timeout={timeout}\n"
        )
        keys.took("sudo.timeout", into)


def _refuse_all(keys: Keys, at: Path, why: str) -> None:
    for path in list(keys.open(at)):
        keys.refused(path, why)
