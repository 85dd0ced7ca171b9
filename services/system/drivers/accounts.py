"""Users' and groups' names and numbers, remembered for seconds: a lookup can cost a network round trip."""

from __future__ import annotations

import grp
import pwd
import time

from common.errors import WrongState

_SECONDS = 5.0


class Accounts:
    """The host's user database, whatever the root: a folder has none of its own."""

    def __init__(self) -> None:
        self._until = 0.0
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}

    def refresh(self) -> None:
        """Forgets what is too old; called once a batch."""
        now = time.monotonic()
        if now > self._until:
            self._until = now + _SECONDS
            # New objects: another thread may be reading the old ones.
            self._users, self._groups = {}, {}

    def user(self, uid: int) -> str:
        """The name, else the number."""
        name = self._users.get(uid)
        if name is None:
            try:
                name = pwd.getpwuid(uid).pw_name
            except KeyError:
                name = str(uid)
            self._users[uid] = name
        return name

    def group(self, gid: int) -> str:
        """The name, else the number."""
        name = self._groups.get(gid)
        if name is None:
            try:
                name = grp.getgrgid(gid).gr_name
            except KeyError:
                name = str(gid)
            self._groups[gid] = name
        return name

    def uid(self, owner: str) -> int:
        """The number of a user's name or number; WrongState where there is no such user."""
        if owner.isdecimal():
            return int(owner)
        try:
            return pwd.getpwnam(owner).pw_uid
        except KeyError:
            raise WrongState(f"there is no user {owner}", next_step="create the user first") from None

    def gid(self, group: str) -> int:
        """The number of a group's name or number; WrongState where there is no such group."""
        if group.isdecimal():
            return int(group)
        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            raise WrongState(f"there is no group {group}", next_step="create the group first") from None
