"""Files of this machine, confined to a root."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from common.errors import ControlError
from common.manager import Emit
from services.system.drivers.accounts import Accounts
from services.system.drivers.file_target import (
    TEMPORARY,
    Target,
    file_type,
    read_content,
    remove_stale,
)
from services.system.drivers.path_hints import PathHints
from services.system.drivers.root import explain, folders
from services.system.models import FileState, FileType, FileWish

log = structlog.get_logger()

# Where NixOS keeps what the active generation puts below /etc.
_STATIC = "/etc/static/"
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Looked up once: attributes cost more than globals, and a pass asks thousands of times.
_REGULAR, _SYMLINK = FileType.REGULAR, FileType.SYMLINK
_FORMAT, _FILE, _LINK = 0o170000, stat.S_IFREG, stat.S_IFLNK
stat_at = os.stat


class LinuxFileDriver:
    """FileDriver on this machine's file system."""

    def __init__(self, root: Path, *, use_openat2: bool = True) -> None:
        self._root = root
        self._use_openat2 = use_openat2
        self._accounts = Accounts()
        self._hints: PathHints | None = None
        self._swept: set[str] = set()

    def read(self, paths: Sequence[str]) -> Mapping[str, FileState | ControlError | None]:
        """See FileDriver."""
        self._accounts.refresh()
        found: dict[str, FileState | ControlError | None] = {}
        with folders(self._root, use_openat2=self._use_openat2) as opened:
            for path in paths:
                folder, _, name = path.rpartition("/")
                try:
                    found[path] = self._look(opened.open(folder), name)
                except (FileNotFoundError, NotADirectoryError):
                    found[path] = None
                except OSError as error:
                    found[path] = explain(error, path)
        return found

    def write(self, path: str, wish: FileWish) -> str:
        """See FileDriver."""
        self._accounts.refresh()
        folder, _, name = path.rpartition("/")
        uid = None if wish.owner is None else self._accounts.uid(wish.owner)
        gid = None if wish.group is None else self._accounts.gid(wish.group)
        try:
            with folders(self._root, use_openat2=self._use_openat2) as opened:
                return Target(path, opened.make(folder), name).become(wish, uid, gid)
        except OSError as error:
            raise explain(error, path) from error

    def remove(self, path: str) -> bool:
        """See FileDriver."""
        folder, _, name = path.rpartition("/")
        try:
            with folders(self._root, use_openat2=self._use_openat2) as opened:
                try:
                    return Target(path, opened.open(folder), name).vanish()
                except (FileNotFoundError, NotADirectoryError):
                    return False
        except OSError as error:
            raise explain(error, path) from error

    def list(self, path: str) -> Sequence[str]:
        """See FileDriver."""
        try:
            with folders(self._root, use_openat2=self._use_openat2) as opened:
                folder = os.open(".", _LIST, dir_fd=opened.open(path))
                try:
                    return sorted(os.listdir(folder))
                finally:
                    os.close(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise explain(error, path) from error

    def owner_name(self, owner: str) -> str:
        """See FileDriver."""
        return self._accounts.user(int(owner)) if _is_id(owner) else owner

    def group_name(self, group: str) -> str:
        """See FileDriver."""
        return self._accounts.group(int(group)) if _is_id(group) else group

    def watch(self, emit: Emit) -> None:
        """See FileDriver. Without inotify there are no hints; the resync finds what changes."""
        try:
            self._hints = PathHints(self._root, emit)
        except OSError as error:
            log.warning(
                "no hints about files", cause=error.strerror, next_step="raise fs.inotify.max_user_instances"
            )

    def hold(self, keys: Sequence[str]) -> None:
        """See FileDriver. Also removes what a killed run left in the folders."""
        fresh = {key.rpartition("/")[0] for key in keys} - self._swept
        self._sweep(fresh)
        self._swept |= fresh
        if self._hints is not None:
            self._hints.hold(keys)

    def drop(self, keys: Sequence[str]) -> None:
        """See FileDriver."""
        if self._hints is not None:
            self._hints.drop(keys)

    def close(self) -> None:
        """See FileDriver."""
        if self._hints is not None:
            self._hints.close()
            self._hints = None

    def _look(self, folder: int, name: str) -> FileState:
        status = stat_at(name, dir_fd=folder, follow_symlinks=False)
        mode, uid, gid = status.st_mode, status.st_uid, status.st_gid
        user, group = self._accounts.user(uid), self._accounts.group(gid)
        sort = mode & _FORMAT
        if sort == _FILE:
            try:
                content = read_content(folder, name, status.st_size)
            except PermissionError:
                if uid != os.geteuid():
                    raise
                content = None  # our own, made unreadable: different, so that it is put back
            return FileState(_REGULAR, mode & 0o7777, user, group, uid, gid, content)
        if sort == _LINK:
            target = os.readlink(os.fsencode(name), dir_fd=folder).decode(errors="replace")
            if target.startswith(_STATIC) and (made := self._generated(target)) is not None:
                return made
            return FileState(_SYMLINK, mode & 0o7777, user, group, uid, gid, None, target)
        return FileState(file_type(status), mode & 0o7777, user, group, uid, gid)

    def _generated(self, target: str) -> FileState | None:
        """What a NixOS generation put below /etc: a text as a file, anything else as the link that was meant.

        There /etc/motd is a link to /etc/static/motd, and that one to the store (text) or to where its owner wanted.
        """
        if ".." in target.split("/"):
            return None
        link = self._root / target.lstrip("/")
        try:
            source = os.readlink(link)
            status = os.lstat(link)
            accounts = self._accounts.user(status.st_uid), self._accounts.group(status.st_gid)
            ids = status.st_uid, status.st_gid
            if not re.fullmatch(r"[0-9a-z]{32}-etc-.+", source.rpartition("/")[2]):
                return FileState(_SYMLINK, 0o777, *accounts, *ids, None, source)
            with open(source, "rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                return FileState(_REGULAR, mode, *accounts, *ids, file.read())
        except OSError:
            return None

    def _sweep(self, paths: set[str]) -> None:
        with folders(self._root, use_openat2=self._use_openat2) as opened:
            for path in paths:
                try:
                    folder = os.open(".", _LIST, dir_fd=opened.open(path))
                except OSError:
                    continue  # missing or forbidden: detection says so
                try:
                    for name in os.listdir(folder):
                        if name.startswith(".nixcc-") and TEMPORARY.fullmatch(name):
                            remove_stale(folder, name)
                finally:
                    os.close(folder)


def _is_id(text: str) -> bool:
    return text.isdecimal() and int(text) < 2**32 - 1
