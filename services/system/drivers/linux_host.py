"""Facts and vital signs of this machine, read from /proc, /etc and statvfs(3)."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import ControlError
from services.system.models import Facts, FileSystem, Pressure, RebootState, Vitals

_SYSTEM_PROFILE = re.compile(r"system-([0-9]+)-link")
# What a restart is needed for on NixOS (nixos-rebuild compares the same).
_BOOTED_PARTS = ("kernel", "initrd", "kernel-modules")
# Not devices, and nothing that can run full: told by systemd's and util-linux' lists of such.
_PSEUDO = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue "  # noqa: SIM905
    "nsfs proc pstore ramfs rpc_pipefs securityfs selinuxfs squashfs sysfs tracefs".split()
)
# Answering for them could hang for as long as the server does.
_REMOTE = ("nfs", "cifs", "smb", "9p", "ceph", "glusterfs", "fuse.", "afs", "ncpfs")


class LinuxHostDriver:
    """HostDriver on this machine; facts of the installed system are read below `root`."""

    def __init__(
        self, root: Path, failed_units: Callable[[], Sequence[str]], *, proc: Path = Path("/proc")
    ) -> None:
        self._root, self._failed_units, self._proc = root, failed_units, proc

    def facts(self) -> Facts:
        """See HostDriver."""
        release = _assignments(
            _text(self._root / "etc/os-release") or _text(self._root / "usr/lib/os-release")
        )
        uname = os.uname()
        boot_time = re.search(r"^btime ([0-9]+)$", _text(self._proc / "stat"), re.MULTILINE)
        profile = _SYSTEM_PROFILE.search(_link(self._root / "nix/var/nix/profiles/system"))
        return Facts(
            hostname=uname.nodename,
            os=release.get("ID", ""),
            os_version=release.get("VERSION_ID", ""),
            os_name=release.get("PRETTY_NAME", ""),
            kernel=uname.release,
            architecture=uname.machine,
            machine_id=_text(self._root / "etc/machine-id").strip(),
            boot_id=_text(self._proc / "sys/kernel/random/boot_id").strip(),
            boot_time=float(boot_time.group(1)) if boot_time else 0.0,
            processors=os.cpu_count() or 0,
            memory=self._meminfo().get("MemTotal", 0),
            init=_text(self._proc / "1/comm").strip(),
            nixos=(self._root / "etc/NIXOS").exists() or release.get("ID") == "nixos",
            current_system=_link(self._root / "run/current-system"),
            generation=int(profile.group(1)) if profile else 0,
        )

    def vitals(self) -> Vitals:
        """See HostDriver."""
        unknown: list[str] = []
        failed: Sequence[str] = ()
        try:
            failed = self._failed_units()
        except ControlError as error:
            unknown.append(f"failed units: {error.message}")
        pressures = tuple(
            pressure for name in ("cpu", "memory", "io") if (pressure := self._pressure(name)) is not None
        )
        if not pressures:
            unknown.append("pressure: this kernel has no pressure-stall information (boot with psi=1)")
        file_systems, unreadable = self._file_systems()
        memory = self._meminfo()
        return Vitals(
            time=time.time(),
            load=os.getloadavg(),
            processors=os.cpu_count() or 0,
            pressures=pressures,
            memory_total=memory.get("MemTotal", 0),
            memory_available=memory.get("MemAvailable", 0),
            swap_total=memory.get("SwapTotal", 0),
            swap_free=memory.get("SwapFree", 0),
            file_systems=tuple(file_systems),
            failed_units=tuple(failed),
            unknown=(*unknown, *unreadable),
        )

    def reboot_state(self) -> RebootState:
        """See HostDriver."""
        running = os.uname().release
        asked = self._root / "run/reboot-required"
        packages = _text(self._root / "run/reboot-required.pkgs").split()
        booted, current = self._root / "run/booted-system", self._root / "run/current-system"
        changed: tuple[str, ...] = ()
        if booted.is_symlink() and current.is_symlink():
            changed = tuple(
                part for part in _BOOTED_PARTS if _target(booted / part) != _target(current / part)
            )
        return RebootState(
            running_kernel=running,
            installed_kernel=self._newest_kernel(running),
            requested_by=tuple(dict.fromkeys(packages)),
            requested=asked.exists(),
            changed_parts=changed,
        )

    def _meminfo(self) -> dict[str, int]:
        rows = re.findall(r"^(\w+): +([0-9]+) kB$", _text(self._proc / "meminfo"), re.MULTILINE)
        return {name: int(value) * 1024 for name, value in rows}

    def _pressure(self, resource: str) -> Pressure | None:
        shares: dict[str, tuple[float, float, float]] = {}
        for line in _text(self._proc / "pressure" / resource).splitlines():
            match = re.match(r"(some|full) avg10=([0-9.]+) avg60=([0-9.]+) avg300=([0-9.]+)", line)
            if match:
                shares[match[1]] = (float(match[2]), float(match[3]), float(match[4]))
        if "some" not in shares:
            return None
        return Pressure(resource, shares["some"], shares.get("full", (0.0, 0.0, 0.0)))

    def _file_systems(self) -> tuple[list[FileSystem], list[str]]:
        found: dict[str, FileSystem] = {}
        unknown, seen = [], set()
        for line in _text(self._proc / "self/mounts").splitlines():
            source, point, sort, options = (_unescape(part) for part in line.split(" ")[:4])
            if sort in _PSEUDO or point.startswith(("/proc/", "/sys/")) or (source, sort) in seen:
                continue  # a bind mount shows the same space again
            if sort.startswith(_REMOTE):
                unknown.append(f"disk {point}: remote and FUSE file systems are not asked")
                continue
            try:
                status = os.statvfs(point)
            except OSError as error:
                unknown.append(f"disk {point}: {error.strerror}")
                continue
            if status.f_blocks == 0:
                continue
            if source.startswith("/"):
                seen.add((source, sort))
            found[point] = FileSystem(
                mount_point=point,
                source=source,
                type=sort,
                total=status.f_blocks * status.f_frsize,
                available=status.f_bavail * status.f_frsize,
                inodes=status.f_files,
                free_inodes=status.f_favail,
                read_only="ro" in options.split(","),
            )
        return [found[point] for point in sorted(found)], unknown

    def _newest_kernel(self, running: str) -> str:
        """Of the same flavour as the running one: `6.1.0-18-amd64` does not follow `6.1.0-18-cloud-amd64`."""
        flavour = _flavour(running)
        for folder in ("boot", "lib/modules"):
            try:
                names = os.listdir(self._root / folder)
            except OSError:
                continue
            prefix = "vmlinuz-" if folder == "boot" else ""
            releases = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
            same = [release for release in releases if _flavour(release) == flavour and release[:1].isdigit()]
            if same:
                return max(same, key=_version)
        return ""


def _flavour(release: str) -> str:
    return re.sub(r"^[0-9.]+(-[0-9]+)?(\+deb[0-9]+[a-z]*)?-?", "", release)


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"[0-9]+", release))


def _assignments(text: str) -> dict[str, str]:
    rows = re.findall(r"^([A-Z_0-9]+)=(.*)$", text, re.MULTILINE)
    return {name: value.strip().strip("\"'") for name, value in rows}


def _unescape(field: str) -> str:
    """Of /proc/mounts: blanks are octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _target(path: Path) -> str:
    return os.path.realpath(path)
