"""Keys that have no counterpart, with the reason; and what the predecessor kept for itself."""

from __future__ import annotations

from cli.predecessor.documents import Documents
from cli.predecessor.keys import Keys

_MANAGER = "core.management.system-manager"
_BUILT_IN = "built in: {}"

# Key or prefix -> why it can't be taken. The first that fits.
_REASONS: tuple[tuple[str, str], ...] = (
    (f"{_MANAGER}.features.ssh-client-manager", "connections belong in ~/.ssh/config of each user"),
    (f"{_MANAGER}.features.ai-workspace", "there is no AI workspace yet"),
    (f"{_MANAGER}.features.container-manager", "the control center runs no compose stacks yet"),
    (f"{_MANAGER}.features.homelab-manager", "the control center runs no compose stacks yet"),
    ("modules.security.ssh-client-manager", "connections belong in ~/.ssh/config of each user"),
    ("modules.specialized.ai-workspace", "there is no AI workspace yet"),
    ("modules.specialized.chronicle", "recording the steps of a session is not part of the control center"),
    ("modules.specialized.hackathon", "it was never finished there, and has no counterpart"),
    ("modules.specialized.ncc-assistant", "there is no assistant; any program can use the API"),
    ("modules.specialized.nixify", "other systems are not scanned; ncc import host reads this one"),
    (
        "modules.system.lock",
        "declare a StateBackup for encrypted copies; a desktop's settings are not scanned",
    ),
    (
        "modules.infrastructure.bootentry-manager",
        _BUILT_IN.format("ncc generation lists and renames nothing"),
    ),
    ("hosting.email", "it was used by homelab stacks only"),
    ("hosting.domain", "it was used by homelab stacks only"),
    (
        f"{_MANAGER}.system.version",
        "which nixpkgs is used stands in the flake's inputs: ncc update shows them",
    ),
    (f"{_MANAGER}.auto-build", "declare an UpdatePolicy: it says when, and what has to be well afterwards"),
)
# Taken differently: what the control center always has.
_BUILT_INS: tuple[tuple[str, str], ...] = (
    (f"{_MANAGER}.features.system-logger", "the journal and ncc events"),
    (f"{_MANAGER}.features.system-checks", "ncc system health and ncc doctor"),
    (f"{_MANAGER}.features.system-checks-afterwards", "the probes of a Generation"),
    (f"{_MANAGER}.features.system-updater", "the updater: ncc update"),
    (f"{_MANAGER}.features.system-config-manager", "ncc apply"),
    (f"{_MANAGER}.features.bootentry-manager", "ncc generation"),
    (f"{_MANAGER}.enableChecks", "ncc system health and ncc doctor"),
    (f"{_MANAGER}.enableVersionChecker", "the updater: ncc update"),
    (f"{_MANAGER}.enableUpdates", "the updater: ncc update"),
    (f"{_MANAGER}.enableDeprecationWarnings", "the updater: ncc update"),
    (f"{_MANAGER}.components", "the updater: ncc update"),
    (f"{_MANAGER}.system.channel", "the flake's inputs, kept by the updater: ncc update"),
    (f"{_MANAGER}.buildLogLevel", "progress by default, the whole log of what fails"),
    (f"{_MANAGER}.systemType", "nothing is assumed by type: the desktop is on where it is declared"),
    ("core.management", "the control center's own command line"),
)
_OWN = ("configVersion", "layout")


def take(keys: Keys, documents: Documents) -> None:
    """Speaks of every key that no section took and whose name is known."""
    for name in _OWN:
        keys.took(f"{_MANAGER}.{name}", "", "told how to read the configuration")
    email = keys.get("hosting.certEmail", str)
    if email:
        into = documents.option("network", "security.acme.defaults.email", email)
        keys.took("hosting.certEmail", into)
    for path in list(keys.open(())):
        if path and path[-1] in ("_version", "_dependencies", "_conflicts"):
            keys.took(path, "", "the predecessor's own bookkeeping")
        elif path and path[-1] == "enable" and keys.value(path) is False:
            keys.took(path, "", "off there, off here")
            if path[0] == "modules":
                for inner in list(keys.open(path[:-1])):
                    keys.took(inner, "", "its module is off there, and is off here")
        elif path and len(path) == 4 and path[:2] == ("core", "base") and path[-1] == "enable":
            keys.took(path, "", "always on")
        elif (
            path[:3] == tuple(_MANAGER.split("."))
            and path[3:4] == ("features",)
            and keys.value(path) is False
        ):
            keys.took(path, "", "off there, off here")
    for prefix, why in _REASONS:
        for path in list(keys.open(prefix)):
            keys.refused(path, why)
    for prefix, what in _BUILT_INS:
        for path in list(keys.open(prefix)):
            keys.changed(path, "", _BUILT_IN.format(what))
