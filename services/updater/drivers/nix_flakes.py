"""Flakes through Nix itself: it alone writes lock files, in a copy of the flake."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from common.errors import ControlError, HostUnavailable, InvalidRequest, NotFound, WrongState
from common.nix.program import Nix
from nixcc.resource.v1.resource_pb2 import Progress
from services.updater.drivers import lock_file
from services.updater.drivers.base import Candidate, Committed, Report, Step
from services.updater.drivers.git import Repository, adopt
from services.updater.drivers.lock_inputs import lock_inputs
from services.updater.models import Input
from services.updater.references import redacted, text_of

_DECLARED = Path(__file__).with_name("flake_inputs.nix")
_EVALUATION, _FETCHING = 60.0, 1_800.0
# Since then `nix flake update` takes inputs, and `nix flake lock` no longer `--update-input`.
_UPDATE_TAKES_INPUTS = (2, 19)
_GONE = re.compile(
    r"does not appear to be|not found|does not exist|no such|couldn't find|not our ref|bad object"
)
STALE = re.compile(r"using cached version|continuing with the most recent version")
# What is never part of a flake.
_LEFT_OUT = {".git", ".hg", ".svn", ".direnv"}


class NixFlakes:
    """Flakes under `root`."""

    def __init__(self, nix: Nix, root: Path) -> None:
        self._nix = nix
        self._root = root

    def inputs(self, flake: str) -> Sequence[Input]:
        folder = self._folder(flake)
        return lock_inputs(lock_file.read(folder), self._declared(folder))

    def parse(self, lock: bytes, declared: Sequence[Input]) -> Sequence[Input]:
        return lock_inputs(lock, declared)

    def lock(self, flake: str) -> bytes:
        return lock_file.read(self._folder(flake))

    def owned(self, flake: str) -> AbstractContextManager[None]:
        return lock_file.owned(self._folder(flake))

    def check_writable(self, flake: str, commit: bool) -> str:
        folder = self._folder(flake)
        lock_file.require_flake(folder)
        lock_file.check_writable(folder)
        repository = Repository.around(folder) if commit else None
        if repository is None:
            return ""
        if reservation := repository.reservation():
            return reservation
        obstacle, help_ = repository.obstacle()
        if obstacle:
            raise WrongState(obstacle, next_step=f"{help_}; or update without a commit")
        return ""

    def candidate(
        self,
        flake: str,
        folder: Path,
        updates: Sequence[str],
        pins: Mapping[str, str],
        report: Report,
        cancel: threading.Event,
    ) -> Candidate:
        source = self._folder(flake)
        old = lock_file.read(source)
        within = _copy(source, folder)
        copied = folder / within / lock_file.LOCK
        if lock_file.read(folder / within) != old:
            # Another file than git's, or one that changed just now.
            copied.unlink(missing_ok=True)
            if old:
                copied.write_bytes(old)
        reference = f"path:{urllib.parse.quote(str(folder))}"
        if within:
            # A `path:` flake can't lie below its source; one in a repository can.
            adopt(folder)
            reference = f"git+file://{urllib.parse.quote(str(folder))}?dir={urllib.parse.quote(within)}"
        overrides = self._pinned(old, pins)
        self._lock(reference, updates, overrides, report, cancel)
        return Candidate(old, lock_file.read(folder / within), reference)

    def install(self, flake: str, expected: bytes, new: bytes) -> None:
        lock_file.install(self._folder(flake), expected, new)

    def commit(self, flake: str, message: str) -> Committed:
        repository = Repository.around(self._folder(flake))
        return Committed("") if repository is None else repository.commit(message)

    def stamp(self, flake: str) -> object:
        folder = self._folder(flake)
        return tuple(_stamp(folder / name) for name in (lock_file.FLAKE, lock_file.LOCK))

    def _declared(self, folder: Path) -> Sequence[Input]:
        argv = ["nix-instantiate", "--eval", "--json", "--strict", str(_DECLARED)]
        rows = self._nix.json([*argv, "--argstr", "path", str(folder / lock_file.FLAKE)], timeout=_EVALUATION)
        found = []
        for row in rows:
            attributes = row["attributes"]
            follows = attributes.get("follows")
            found.append(
                Input(
                    "/".join(row["path"]),
                    url=_address(attributes) if follows is None else None,
                    follows=follows,
                    line=int(row["at"]),
                )
            )
        # `inputs.a.inputs.b = { }` alone says nothing of b.
        return [i for i in found if i.url is not None or i.follows is not None]

    def _lock(
        self,
        reference: str,
        updates: Sequence[str],
        overrides: Mapping[str, str],
        report: Report,
        cancel: threading.Event,
    ) -> None:
        """Has Nix write the lock file of our copy."""
        if updates and self._nix.version() >= _UPDATE_TAKES_INPUTS:
            argv = ["flake", "update", *updates, "--flake", reference]
        else:
            argv = ["flake", "lock", reference]
            for name in updates:
                argv += ["--update-input", name]
        for name, to in overrides.items():
            argv += ["--override-input", name, to]

        lines: list[str] = []

        def told(progress: Progress) -> None:
            percent = progress.percent if progress.HasField("percent") else None
            lines.append(progress.log_line)
            # Where our copy lies is nobody's concern.
            line = "" if "updating lock file" in progress.log_line else progress.log_line
            report(Step(progress.message, percent, redacted(line) or None))

        try:
            self._nix.long("locking", argv, told, cancel, timeout=_FETCHING)
        except WrongState as error:
            raise _of_git(error, lines) from error
        for line in lines:
            # Nix then takes what it fetched before, and would have us believe that nothing is new.
            if STALE.search(line):
                raise HostUnavailable(
                    redacted(line.removeprefix("warning: ")),
                    retry_after=60.0,
                    next_step="look at the network, then run it again",
                )

    def _pinned(self, old: bytes, pins: Mapping[str, str]) -> Mapping[str, str]:
        """For each input the reference at that revision; Nix keeps the original one beside it."""
        if not pins:
            return {}
        nodes = json.loads(old or b'{"nodes": {"root": {}}, "root": "root"}')
        found = {}
        for path, revision in pins.items():
            found[path] = _at(_original(nodes, path), revision, path)
        return found

    def _folder(self, flake: str) -> Path:
        """Where the flake is on this machine: under the root, where there is one of our own."""
        if self._root == Path("/") or Path(flake).is_relative_to(self._root):
            return Path(flake)
        return self._root / flake.lstrip("/")


def _copy(source: Path, target: Path) -> str:
    """Copies what Nix sees of the flake; gives the flake's folder in the copy."""
    repository = Repository.around(source)
    if repository is None:
        shutil.copytree(source, target, symlinks=True, ignore=_unwanted)
        return ""
    target.mkdir(parents=True)
    for name in repository.files():
        wanted, path = repository.top / name, target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if wanted.is_symlink() or wanted.is_file():
            shutil.copy2(wanted, path, follow_symlinks=False)
    if not (target / repository.folder / lock_file.FLAKE).is_file():
        raise NotFound(
            f"{source}/flake.nix is not tracked by git, so Nix does not see it",
            next_step=f"git -C {source} add flake.nix",
        )
    return repository.folder


def _of_git(error: WrongState, lines: Sequence[str]) -> ControlError:
    """Nix only says that git failed; git itself says why."""
    fatal = [redacted(line.removeprefix("fatal: ")) for line in lines if line.startswith("fatal: ")]
    if not fatal or "program 'git' failed" not in error.message:
        return error
    if _GONE.search(fatal[0]):
        return NotFound(f"git: {fatal[0]}", next_step="look at the input's address and revision")
    return HostUnavailable(
        f"git: {fatal[0]}", retry_after=60.0, next_step="look at the network, then run it again"
    )


def _unwanted(folder: str, names: list[str]) -> set[str]:
    """Version control, and what can't be copied: sockets, devices, pipes."""
    found = set(names) & _LEFT_OUT
    for name in names:
        mode = os.lstat(os.path.join(folder, name)).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            found.add(name)
    return found


def _address(attributes: Mapping[str, Any]) -> str | None:
    """What flake.nix says; None: nothing."""
    if "url" in attributes and "type" not in attributes:
        return redacted(str(attributes["url"]))
    return text_of(attributes) if "type" in attributes else None


def _original(lock: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The reference that an input was locked from."""
    nodes, name = lock["nodes"], lock["root"]
    for part in path.split("/"):
        name = nodes[name].get("inputs", {}).get(part)
        if name is None:
            raise NotFound(
                f"the lock file has no input {path} yet",
                next_step="lock it first: ncc update run --mode lock",
            )
        if isinstance(name, list):
            raise WrongState(f"{path} follows {'/'.join(name)}", next_step=f"pin {'/'.join(name)}")
    found: Mapping[str, Any] = nodes[name]["original"]
    if found.get("type") == "indirect":
        # The registry's answer is what has revisions.
        locked: Mapping[str, Any] = nodes[name]["locked"]
        return {key: value for key, value in locked.items() if key not in ("rev", "narHash", "lastModified")}
    return found


def _at(original: Mapping[str, Any], revision: str, path: str) -> str:
    """The reference at a revision."""
    sort = original.get("type")
    if sort in ("github", "gitlab", "sourcehut"):
        query = {key: str(original[key]) for key in ("dir", "host") if original.get(key)}
        base = f"{sort}:{original['owner']}/{original['repo']}/{revision}"
    elif sort in ("git", "hg"):
        query = {key: str(original[key]) for key in ("dir", "ref") if original.get(key)}
        query["rev"] = revision
        for flag in ("submodules", "allRefs", "shallow"):
            if original.get(flag):
                query[flag] = "1"
        base = f"{sort}+{original['url']}"
    else:
        text = f"{path} comes from a {sort} address, which has no revisions"
        raise InvalidRequest(text, next_step="hold it instead: hold: true")
    if not query:
        return base
    joint = "&" if "?" in base else "?"
    return base + joint + urllib.parse.urlencode(query, safe="/")


def _stamp(path: Path) -> object:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
