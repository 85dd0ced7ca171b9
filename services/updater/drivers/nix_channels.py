"""The root user's channels, through nix-channel(1)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import CommandFailed, HostUnavailable, NotFound
from common.nix.failures import explained
from common.process import run
from services.updater.drivers.base import ChannelState

_FETCHING = 1_800.0
_GENERATION = re.compile(r"channels-[0-9]+-link")


class NixChannels:
    """Channels of the root user under `root`; `environment` is added to the daemon's own."""

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        home = root / "root"
        state = Path(
            environment.get("NIX_STATE_DIR") or os.environ.get("NIX_STATE_DIR") or root / "nix/var/nix"
        )
        self._list = home / ".nix-channels"
        self._home = home
        self._profiles = (
            # Where Nix keeps it: since 2.14 in the first, before in the second.
            home / ".local/state/nix/profiles/channels",
            state / "profiles/per-user/root/channels",
        )
        self._environment = {**environment, "HOME": str(home), "USER": "root"}

    def all(self) -> Mapping[str, ChannelState]:
        found = {}
        try:
            lines = self._list.read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        for line in lines:
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            name = words[1] if len(words) > 1 else _default_name(words[0])
            found[name] = ChannelState(name, words[0].rstrip("/"), self._path(name))
        return found

    def set(self, name: str, url: str) -> None:
        before = self.all().get(name)
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._channel("--add", url, name)
        try:
            self._channel("--update", name)
        except Exception:
            if before is None:
                self._channel("--remove", name)
            else:
                self._channel("--add", before.url, name)
            raise

    def remove(self, name: str) -> bool:
        if name not in self.all():
            return False
        self._channel("--remove", name)
        return True

    def update(self, names: Sequence[str]) -> None:
        if missing := sorted(set(names) - self.all().keys()):
            raise NotFound(f"there is no channel {missing[0]}", next_step="ncc get channels lists them")
        self._channel("--update", *names)

    def roll_back(self) -> None:
        if not any(map(_has_older, self._profiles)):
            raise NotFound("the channels were fetched once at most")
        self._channel("--rollback")

    def _path(self, name: str) -> str:
        for profile in self._profiles:
            path = profile / name
            if path.exists():
                return os.path.realpath(path)
        return ""

    def _channel(self, *arguments: str) -> None:
        try:
            # Without the option a channel fetched within the last hour is not looked at again.
            argv = ["nix-channel", *arguments, "--option", "tarball-ttl", "0"]
            done = run(argv, env=self._environment, timeout=_FETCHING)
        except CommandFailed as error:
            raise explained(error.stderr) from error
        for line in done.stderr.decode(errors="replace").splitlines():
            # Nix then takes what it fetched before, and says that all is well.
            if "using cached version" in line:
                raise HostUnavailable(line.removeprefix("warning: ").strip(), retry_after=60.0)


def _has_older(profile: Path) -> bool:
    """Whether a profile has a generation before its own."""
    try:
        own = os.readlink(profile).rpartition("/")[2]
        links = [link for link in os.listdir(profile.parent) if _GENERATION.fullmatch(link)]
    except OSError:
        return False
    number = {link: int(link.split("-")[-2]) for link in links}
    return own in number and min(number.values()) < number[own]


def _default_name(url: str) -> str:
    """As nix-channel takes it from an address without a name."""
    name = url.rstrip("/").rpartition("/")[2]
    return name.removesuffix("-stable").removesuffix("-unstable")
