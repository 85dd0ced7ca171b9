"""Mounts of the running host: mountinfo to see them, mount(8) and umount(8) to change them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import CommandFailed, ControlError, Forbidden, HostUnavailable, InvalidRequest, WrongState
from common.manager import Emit
from common.process import run
from services.hardware.drivers import sources
from services.hardware.drivers.mountinfo import REMOTE, VIRTUAL, MountEntry, mounts
from services.hardware.drivers.proc_watch import ProcWatch
from services.hardware.drivers.record import Entry, Record
from services.hardware.drivers.tree import Tree
from services.hardware.models.states import MountState, MountWish

MOUNTINFO = "/proc/self/mountinfo"
# Servers that don't answer get so many seconds.
_TIMEOUT = 60.0
# Without these there is no running system to unmount them from.
_ESSENTIAL = {"/", "/proc", "/sys", "/dev", "/run", "/nix", "/nix/store"}
# Options that decide what is mounted: a remount can't change them.
_STRUCTURAL = {"bind", "rbind", "loop"}
_STRUCTURAL_PREFIXES = ("subvol=", "subvolid=", "offset=", "sizelimit=")
# What every mount has that says nothing else.
_DEFAULTS = {"rw", "relatime"}


class LinuxMountDriver:
    """`record` keeps the words that mounts were made with, for as long as the kernel shows the state they led to."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[MountEntry, ...]] = {}
        self._watch: ProcWatch | None = None

    def unsupported(self) -> str:
        """As the Protocol says."""
        if os.geteuid() != 0:
            return "mounting needs root: run the daemon as root"
        missing = [program for program in ("mount", "umount") if shutil.which(program) is None]
        return f"{' and '.join(missing)} not found: install util-linux" if missing else ""

    def read(self, mount_points: Sequence[str]) -> Mapping[str, MountState | ControlError | None]:
        """As the Protocol says."""
        current = _current()
        found: dict[str, MountState | ControlError | None] = {}
        for point in mount_points:
            entry = current.get(point)
            found[point] = None if entry is None else self._state(entry)
        return found

    def present(self) -> Sequence[str]:
        """As the Protocol says."""
        return [
            entry.mount_point
            for entry in _current().values()
            if entry.fs_type not in VIRTUAL and (entry.source.startswith("/dev/") or entry.fs_type in REMOTE)
        ]

    def mount(self, wish: MountWish) -> str:
        """As the Protocol says."""
        with self._lock:
            return self._converge(wish)

    def unmount(self, mount_point: str) -> bool:
        """As the Protocol says."""
        with self._lock:
            entry = _current().get(mount_point)
            if entry is not None:
                _umount(mount_point)
            for folder in reversed(self._record.get(mount_point).get("made", [])):
                try:
                    os.rmdir(folder)
                except OSError:
                    # Somebody uses it by now.
                    break
            self._record.put(mount_point, {})
            return entry is not None

    def watch(self, emit: Emit) -> None:
        """As the Protocol says."""

        def changed(text: str) -> None:
            now: dict[str, tuple[MountEntry, ...]] = {}
            for entry in mounts(text):
                now[entry.mount_point] = (*now.get(entry.mount_point, ()), entry)
            before, self._seen = self._seen, now
            different = [point for point in {*before, *now} if before.get(point) != now.get(point)]
            if before and different:
                emit(different)

        self._watch = ProcWatch(MOUNTINFO, changed)

    def close(self) -> None:
        """As the Protocol says."""
        if self._watch is not None:
            self._watch.close()

    def _state(self, entry: MountEntry) -> MountState:
        """In the owner's words while what the kernel shows is what they led to; else in the kernel's."""
        asked = self._record.get(entry.mount_point)
        if asked.get("seen") == _fingerprint(entry) and self._still_names(asked, entry):
            options = asked["options"]
            return MountState(
                entry.mount_point,
                asked["source"],
                asked["fs_type"] or entry.fs_type,
                _plain(entry) if options is None else tuple(options),
            )
        return MountState(entry.mount_point, _source(entry), entry.fs_type, _plain(entry))

    def _still_names(self, asked: Entry, entry: MountEntry) -> bool:
        """Labels and UUIDs may have moved to another device since."""
        if sources.tag(asked["source"]) is None:
            return True
        device = sources.resolve(asked["source"])
        return device is None or _is_device(device, entry)

    def _converge(self, wish: MountWish) -> str:
        entry = _current().get(wish.mount_point)
        if entry is None:
            earlier = self._record.get(wish.mount_point).get("made", [])
            made = _make_folder(wish.mount_point)
            try:
                _mount(wish)
            except ControlError:
                for folder in reversed(made):
                    os.rmdir(folder)
                raise
            # What an earlier run made is still ours after somebody has unmounted it.
            self._remember(wish, [*(folder for folder in earlier if folder not in made), *made])
            return f"mounted {wish.source}"
        made = self._record.get(wish.mount_point).get("made", [])
        if not _is_source(wish, entry):
            _umount(wish.mount_point)
            _mount(wish)
            self._remember(wish, made)
            return f"mounted {wish.source} instead of {entry.source}"
        state = self._state(entry)
        if wish.options is None or set(wish.options) == set(state.options):
            # The same in other words: from here on it is known by the owner's.
            self._remember(wish, made)
            return ""
        if _structural(wish.options) != _structural(state.options):
            _umount(wish.mount_point)
            _mount(wish)
            done = "mounted anew"
        else:
            _remount(wish)
            done = f"remounted with {','.join(wish.options) or 'no options'}"
        self._remember(wish, made)
        return done

    def _remember(self, wish: MountWish, made: Sequence[str]) -> None:
        entry = _current().get(wish.mount_point)
        if entry is None:
            raise HostUnavailable(
                f"{wish.mount_point} was unmounted at once", next_step="see what unmounts it"
            )
        self._record.put(
            wish.mount_point,
            {
                "source": wish.source,
                "fs_type": wish.fs_type,
                "options": None if wish.options is None else sorted(wish.options),
                "seen": _fingerprint(entry),
                "made": list(made),
            },
        )


def _current() -> dict[str, MountEntry]:
    """The topmost mount of each mount point."""
    return {entry.mount_point: entry for entry in mounts(Tree().text(MOUNTINFO) or "")}


def _fingerprint(entry: MountEntry) -> Entry:
    """What stays the same as long as nobody changes the mount. Numbers of major 0 are given out anew each time."""
    number = "" if entry.major_minor.startswith("0:") else entry.major_minor
    # Loop devices too are taken as they come; the image tells.
    device = sources.loop_file(entry.source) or number
    options = sorted(entry.all_options)
    return {
        "device": device,
        "source": entry.source,
        "root": entry.root,
        "type": entry.fs_type,
        "options": options,
    }


def _source(entry: MountEntry) -> str:
    source = sources.loop_file(entry.source) or entry.source
    # As findmnt writes a part of a file system.
    return source if entry.root == "/" or entry.fs_type == "btrfs" else f"{source}[{entry.root}]"


def _plain(entry: MountEntry) -> tuple[str, ...]:
    return tuple(sorted(set(entry.all_options) - _DEFAULTS))


def _structural(options: Sequence[str]) -> set[str]:
    return {o for o in options if o in _STRUCTURAL or o.startswith(_STRUCTURAL_PREFIXES)} - {"loop"}


def _is_source(wish: MountWish, entry: MountEntry) -> bool:
    """Whether what is mounted is what the owner names."""
    same_type = wish.fs_type in (None, "auto", "none", entry.fs_type) or entry.fs_type in (
        f"fuse.{wish.fs_type}",
        f"{wish.fs_type}4" if wish.fs_type == "nfs" else "",
    )
    path = sources.resolve(wish.source)
    if {"bind", "rbind"} & set(wish.options or ()):
        return path is not None and _is_bound(path, entry)
    if not same_type:
        return False
    if path is not None and os.path.isfile(path):
        return sources.loop_file(entry.source) == path
    return wish.source == entry.source or (path is not None and _is_device(path, entry))


def _is_device(path: str, entry: MountEntry) -> bool:
    try:
        number = os.stat(path).st_rdev
    except OSError:
        return False
    if f"{os.major(number)}:{os.minor(number)}" == entry.major_minor:
        return True
    # btrfs shows a number of its own, and the device's name as the source.
    return entry.source.startswith("/dev/") and os.path.realpath(entry.source) == path


def _is_bound(path: str, entry: MountEntry) -> bool:
    """Whether the mount shows this folder: the same folder of the same file system."""
    try:
        folder, mounted = os.stat(path), os.stat(entry.mount_point)
    except OSError:
        return False
    return (folder.st_dev, folder.st_ino) == (mounted.st_dev, mounted.st_ino)


def _make_folder(path: str) -> list[str]:
    """Makes the folder with its parents; gives those that were made. Raises InvalidRequest for a link or a file."""
    real = os.path.realpath(path)
    if real != path:
        raise InvalidRequest(f"{path} leads through a symbolic link to {real}", next_step=f"use {real}")
    missing = [str(folder) for folder in (Path(path), *Path(path).parents) if not folder.exists()][::-1]
    for folder in missing:
        os.mkdir(folder, 0o755)
    if not os.path.isdir(path) and not missing:
        raise WrongState(f"{path} is a file", next_step="move it away, or choose another mount point")
    return missing


def _mount(wish: MountWish) -> None:
    argv = ["mount"]
    if wish.fs_type and not {"bind", "rbind"} & set(wish.options or ()):
        argv += ["-t", wish.fs_type]
    if wish.options:
        argv += ["-o", ",".join(wish.options)]
    _run([*argv, "--source", wish.source, "--target", wish.mount_point], wish.source)


def _remount(wish: MountWish) -> None:
    """Both source and mount point are named, so that all options are replaced and no fstab is asked."""
    options = [option for option in wish.options or () if option not in _STRUCTURAL - {"bind"}]
    if "ro" not in options:
        options.append("rw")
    entry = _current()[wish.mount_point]
    argv = [
        "mount",
        "-o",
        ",".join(["remount", *options]),
        "--source",
        entry.source,
        "--target",
        wish.mount_point,
    ]
    _run(argv, wish.source)


def _umount(mount_point: str) -> None:
    if mount_point in _ESSENTIAL:
        raise WrongState(
            f"{mount_point} can't be unmounted from a running system",
            next_step="delete the resource with the deletion policy ORPHAN",
        )
    _run(["umount", "--", mount_point], mount_point)


def _run(argv: Sequence[str], subject: str) -> None:
    """Runs it and sorts its failures; mount(8) tells all of them by exit code 32 and a sentence."""
    try:
        run(argv, timeout=_TIMEOUT)
    except CommandFailed as error:
        said = error.stderr.lower()
        cause = error.stderr.strip().splitlines()[0] if error.stderr.strip() else str(error)
        if "busy" in said:
            step = f"see who uses it: fuser -vm {argv[-1]}"
            raise WrongState(cause, next_step=step) from error
        if "permission denied" in said or "must be superuser" in said:
            raise Forbidden(cause) from error
        if "can't find" in said or "does not exist" in said or "no such" in said or "special device" in said:
            raise HostUnavailable(
                cause, retry_after=10, next_step=f"plug {subject} in or correct it"
            ) from error
        if any(text in said for text in ("unknown filesystem", "bad option", "bad usage", "wrong fs type")):
            step = "check fs_type and options; `dmesg` may say more"
            raise InvalidRequest(cause, next_step=step) from error
        raise
