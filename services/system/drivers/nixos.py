"""What a NixOS host has: the system that runs, the one it was started with, the generations of a profile."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import process
from common.errors import ControlError, NotFound, WrongState
from services.system.drivers.path_hints import PathHints
from services.system.generation import activation
from services.system.generation.models import UNKNOWN, Generation, UnitChanges

_LINK = re.compile(r"(.+)-([0-9]+)-link")
# What only a restart brings into use (nixos-rebuild compares the same).
_BOOTED_PARTS = ("kernel", "initrd", "kernel-modules")
_SWITCH = "bin/switch-to-configuration"


class NixosDriver:
    """This host, or one below `root`; Nix is told where its store is by the environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.profile = root / "nix/var/nix/profiles/system"
        self.gcroots = root / "nix/var/nix/gcroots"
        self._revisions: dict[str, str] = {}
        self._hints: PathHints | None = None

    def running(self) -> str:
        """The system that runs, as a path in the store; empty: none."""
        return _target(self.root / "run/current-system")

    def booted(self) -> str:
        """The system that the host was started with; empty: none."""
        return _target(self.root / "run/booted-system")

    def default(self) -> str:
        """The system that the profile stands at; empty: there is no profile."""
        return _target(self.profile)

    def number(self) -> int:
        """The generation that the profile stands at; 0: there is no profile."""
        try:
            match = _LINK.fullmatch(os.path.basename(os.readlink(self.profile)))
        except OSError:
            return 0
        return int(match[2]) if match else 0

    def numbers(self, profile: Path | None = None) -> list[int]:
        """All generations' numbers, sorted."""
        profile = profile or self.profile
        try:
            found = (_LINK.fullmatch(name) for name in os.listdir(profile.parent))
        except OSError:
            return []
        return sorted(int(match[2]) for match in found if match and match[1] == profile.name)

    def generations(self, name: str = "") -> list[Generation]:
        """The newest first. `name`: another profile than `system`. Raises NotFound."""
        profile = self.root / "nix/var/nix/profiles/system-profiles" / name if name else self.profile
        if "/" in name or (name and not profile.is_symlink()):
            raise NotFound(f"there is no profile {name!r}")
        try:
            current = os.path.basename(os.readlink(profile))
        except OSError:
            current = ""
        running, booted = self.running(), self.booted()
        found = []
        for number in reversed(self.numbers(profile)):
            link = profile.parent / f"{profile.name}-{number}-link"
            toplevel = _target(link)
            try:
                made = os.lstat(link).st_mtime
            except FileNotFoundError:
                continue  # deleted meanwhile
            found.append(
                Generation(
                    number=number,
                    date=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(made)),
                    made=made,
                    nixos_version=version(toplevel),
                    kernel_version=_kernel_version(toplevel),
                    configuration_revision=self._revision(toplevel),
                    specialisations=specialisations(toplevel),
                    current=link.name == current,
                    toplevel=toplevel,
                    running=toplevel == running,
                    booted=toplevel == booted,
                )
            )
        return found

    def generation(self, number: int) -> str:
        """The toplevel of a generation; 0: of the one before the profile's own. Raises NotFound."""
        if number == 0:
            earlier = [one for one in self.numbers() if one < self.number()]
            if not earlier:
                raise NotFound(
                    "there is no generation before this one",
                    next_step="ncc generation list shows what there is",
                )
            number = earlier[-1]
        toplevel = _target(self.profile.parent / f"{self.profile.name}-{number}-link")
        if not toplevel:
            raise NotFound(
                f"there is no generation {number}", next_step="ncc generation list shows what there is"
            )
        return toplevel

    def delete(self, numbers: Sequence[int]) -> None:
        """Removes generations from the profile; Nix keeps their paths until it collects garbage."""
        if numbers:
            argv = ["nix-env", "-p", str(self.profile), "--delete-generations", *map(str, numbers)]
            process.run(argv, timeout=60)

    def resolved(self, toplevel: str, specialisation: str) -> str:
        """The path that runs when a system, or a specialisation of it, does; empty: it is gone."""
        return _target(Path(toplevel, "specialisation", specialisation) if specialisation else Path(toplevel))

    def check(self, toplevel: str, specialisation: str = "") -> None:
        """Raises WrongState or NotFound where the path is no system that can be switched to."""
        if not os.path.isdir(toplevel):
            raise NotFound(
                f"{toplevel} does not exist", next_step="build it, or copy it into the store (nix copy)"
            )
        if not os.path.exists(f"{toplevel}/nixos-version"):
            raise WrongState(
                f"{toplevel} is no NixOS system: it has no nixos-version",
                next_step="name the output of config.system.build.toplevel",
            )
        for part in (toplevel, f"{toplevel}/specialisation/{specialisation}" if specialisation else ""):
            if part and not os.path.isdir(part):
                known = ", ".join(specialisations(toplevel)) or "none"
                raise NotFound(f"the system has no specialisation {specialisation}; it has {known}")
            if part and not os.access(f"{part}/{_SWITCH}", os.X_OK):
                raise WrongState(
                    f"{part} can't be switched to: it has no {_SWITCH}",
                    next_step="its configuration says system.switch.enable = false, or it is an image",
                )

    def dry_activate(self, toplevel: str) -> UnitChanges:
        """Asks the system which units a switch would touch. Raises CommandFailed."""
        done = process.run([f"{toplevel}/{_SWITCH}", "dry-activate"], timeout=120)
        return activation.parse((done.stderr + b"\n" + done.stdout).decode(errors="replace"))

    def closure(self, toplevel: str) -> dict[str, int]:
        """All that the system needs: path -> bytes. Raises ControlError where Nix doesn't know it."""
        argv = ["nix", "--extra-experimental-features", "nix-command", "path-info", "--json", "-r", toplevel]
        rows = json.loads(process.run(argv, timeout=120).stdout)
        if isinstance(rows, list):  # before Nix 2.19
            return {row["path"]: int(row.get("narSize", 0)) for row in rows}
        rows = rows.get("info", rows)
        return {path: int((row or {}).get("narSize", 0)) for path, row in rows.items()}

    def reboot_reasons(self, toplevel: str) -> tuple[str, ...]:
        """Why a restart is needed before all of the system is in use; empty: none is."""
        booted = self.booted()
        if not booted:
            return ()
        return tuple(
            f"the {part.replace('-', ' ')} differs from the one that the host was started with"
            for part in _BOOTED_PARTS
            if _target(Path(booted, part)) != _target(Path(toplevel, part))
        )

    def boot_free(self) -> int | None:
        """Bytes free in /boot; None: there is none."""
        try:
            status = os.statvfs(self.root / "boot")
        except OSError:
            return None
        return status.f_bavail * status.f_frsize

    def boot_needed(self, toplevel: str) -> int:
        """Bytes of the system's kernel and initrd, unless a generation has brought them to /boot already."""
        present: set[str] = set()
        for number in self.numbers():
            other = _target(self.profile.parent / f"{self.profile.name}-{number}-link")
            present.update(_target(Path(other, part)) for part in ("kernel", "initrd"))
        needed = 0
        for part in ("kernel", "initrd"):
            target = _target(Path(toplevel, part))
            if target and target not in present:
                try:
                    needed += os.stat(target).st_size
                except OSError:
                    pass
        return needed

    def inhibitors(self, toplevel: str) -> tuple[str, ...]:
        """What forbids switching from the running system to this one, as sentences."""
        old, new = _inhibitors(self.running()), _inhibitors(toplevel)
        return tuple(
            f"{key} changes from {old[key]} to {new[key]}"
            for key in sorted(old.keys() & new.keys())
            if old[key] != new[key]
        )

    def protect(self, name: str, path: str) -> None:
        """Keeps a path from being collected as garbage, under this name."""
        link = self.gcroots / f"nixcc-{name}"
        scratch = f"{link}.{os.getpid()}"
        try:
            self.gcroots.mkdir(parents=True, exist_ok=True)
            os.symlink(path, scratch)
            os.rename(scratch, link)
        except OSError as error:
            raise ControlError(f"{path} can't be kept from being collected: {error}") from error

    def desired(self, toplevel: str) -> bytes:
        """The desired.json that the system was made of; empty: it has none."""
        try:
            return Path(toplevel, "etc/nixcc/desired.json").read_bytes()
        except OSError:
            return b""

    def watch(self, emit: Callable[[], None]) -> None:
        """Tells when another system may run or be the default."""
        self._hints = PathHints(self.root, lambda paths: emit())
        self._hints.hold(["/run/current-system", "/nix/var/nix/profiles/system"])

    def close(self) -> None:
        """Ends the telling; harmless where `watch` was never called."""
        if self._hints is not None:
            self._hints.close()

    def _revision(self, toplevel: str) -> str:
        """Asked of the system itself, as nixos-rebuild does; once."""
        if toplevel not in self._revisions:
            self._revisions[toplevel] = _ask_revision(toplevel)
        return self._revisions[toplevel]


def version(toplevel: str) -> str:
    """The NixOS version of a system."""
    try:
        return Path(toplevel, "nixos-version").read_text(errors="replace").strip() or UNKNOWN
    except OSError:
        return UNKNOWN


def specialisations(toplevel: str) -> tuple[str, ...]:
    """Names of a system's specialisations, sorted."""
    try:
        return tuple(sorted(os.listdir(f"{toplevel}/specialisation")))
    except OSError:
        return ()


def _kernel_version(toplevel: str) -> str:
    kernel = _target(Path(toplevel, "kernel"))
    try:
        return min(os.listdir(Path(kernel).parent / "lib/modules")) if kernel else UNKNOWN
    except (OSError, ValueError):
        return UNKNOWN


def _ask_revision(toplevel: str) -> str:
    program = f"{toplevel}/sw/bin/nixos-version"
    if not os.access(program, os.X_OK):
        return UNKNOWN
    try:
        done = process.run([program, "--configuration-revision"], timeout=5, check=False)
    except ControlError:
        return UNKNOWN
    return (done.text.strip() if done.exit_code == 0 else "") or UNKNOWN


def _inhibitors(toplevel: str) -> dict[str, str]:
    try:
        found = json.loads(Path(toplevel, "switch-inhibitors").read_bytes()) if toplevel else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WrongState(f"{toplevel}/switch-inhibitors can't be read: {error}") from error
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _target(path: Path) -> str:
    """Where a link leads in the end; empty: there is none, or it leads nowhere."""
    return os.path.realpath(path) if os.path.exists(path) else ""
