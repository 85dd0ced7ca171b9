"""The control center's own Nix profile, changed with `nix profile` of any version.

Changes are made to a copy of the link in a folder beside it, and become one generation of the profile by
`nix-env --set`: whatever dies on the way, the profile is as it was.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from common import failpoints
from common.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unsupported, WrongState
from common.manager import Emit
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers import manifest
from services.packages.drivers.base import Tell
from services.packages.drivers.nix import nix, nix_json, nix_long, nix_version
from services.packages.drivers.profile_watch import ProfileWatch
from services.packages.models import Edit, Element, Generation, Installable, Lock

log = structlog.get_logger()

_STAGE = ".staging-"


class NixProfileDriver:
    """`folder` is the profile's own; `flake` is what packages come from that name none."""

    name = "nix"

    def __init__(self, folder: Path, flake: str, unsupported: str = "") -> None:
        self._folder = folder
        self._link = folder / "profile"
        self._flake = flake
        self._unsupported = unsupported
        self._version: tuple[int, ...] = ()
        self._lock = threading.Lock()
        self._watch: ProfileWatch | None = None

    def unsupported(self) -> str:
        """See ProfileDriver."""
        return self._unsupported

    def path(self) -> str:
        """See ProfileDriver."""
        return str(self._link)

    def elements(self) -> Sequence[Element]:
        """See ProfileDriver."""
        return manifest.read(self._link)

    def lock(self, flake: str) -> Lock:
        """See ProfileDriver."""
        return lock(flake or self._flake)

    def version_of(self, package: Installable) -> str:
        """See ProfileDriver."""
        from services.packages.versions import parse_name

        reference = f"{package.flake or self._flake}#{package.attribute}"
        name = nix(["eval", "--raw", "--no-write-lock-file", f"{reference}.name"]).text.strip()
        return parse_name(name)[1]

    def prepare(self, package: Installable, tell: Tell, cancel: threading.Event) -> None:
        """See ProfileDriver."""
        if self._unsupported:
            raise Unsupported(self._unsupported)
        arguments = ["build", "--no-link", "--no-write-lock-file", *self._references(package)]
        nix_long(f"installing {package.attribute}", arguments, tell, cancel)

    def edit(
        self, edit: Edit, tell: Tell, cancel: threading.Event, check: Callable[[Sequence[Element]], None]
    ) -> Sequence[Element]:
        """See ProfileDriver."""
        with self._alone():
            before = os.path.realpath(self._link) if self._link.exists() else ""
            with self._stage(before) as stage:
                self._remove(stage, edit.remove, tell, cancel)
                failpoints.hit("packages.removed")
                for package in edit.add:
                    self._install(stage, package, tell, cancel)
                failpoints.hit("packages.staged")
                found = manifest.read(stage)
                check(found)
                after = os.path.realpath(stage) if stage.exists() else ""
                now = os.path.realpath(self._link) if self._link.exists() else ""
                if now != before:
                    raise Conflict("somebody else changed the profile meanwhile")
                if after and after != before:
                    tell(Progress(message="switching the profile", percent=95))
                    failpoints.hit("packages.before_set")
                    nix(["nix-env", "--profile", str(self._link), "--set", after])
                    failpoints.hit("packages.after_set")
            return found

    def generations(self) -> Sequence[Generation]:
        """See ProfileDriver."""
        current = os.readlink(self._link) if self._link.is_symlink() else ""
        found = []
        for link in self._links():
            try:
                elements = manifest.read(link)
            except WrongState as error:
                log.warning("a generation of the profile can't be read", link=str(link), error=str(error))
                elements = ()
            found.append(
                Generation(
                    number=_number(link),
                    created=link.lstat().st_mtime,
                    current=link.name == current,
                    path=os.path.realpath(link),
                    elements=elements,
                )
            )
        return found

    def switch(self, number: int) -> None:
        """See ProfileDriver."""
        with self._alone():
            if all(_number(link) != number for link in self._links()):
                raise NotFound(
                    f"the profile has no generation {number}", next_step="ncc package history lists them"
                )
            nix(["nix-env", "--profile", str(self._link), "--switch-generation", str(number)])

    def delete_generations(self, numbers: Sequence[int]) -> None:
        """See ProfileDriver."""
        if numbers:
            with self._alone():
                nix(
                    [
                        "nix-env",
                        "--profile",
                        str(self._link),
                        "--delete-generations",
                        *map(str, sorted(numbers)),
                    ]
                )

    def watch(self, emit: Emit) -> None:
        """See ProfileDriver."""
        if not self._unsupported:
            try:
                with self._alone():
                    self._tidy()
            except Forbidden as error:
                log.warning("the profile is only looked at, not watched", cause=error.message)
                return
            self._watch = ProfileWatch(self._folder, self._link.name, lambda: emit(()))

    def close(self) -> None:
        """See ProfileDriver."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _links(self) -> list[Path]:
        links = [p for p in self._folder.glob("profile-*-link") if p.is_symlink() and _number(p)]
        return sorted(links, key=_number)

    def _remove(self, stage: Path, elements: Sequence[Element], tell: Tell, cancel: threading.Event) -> None:
        if elements:
            names = [self._called(element) for element in elements]
            tell(Progress(message=f"removing {', '.join(element.pname for element in elements)}"))
            nix_long("removing", ["profile", "remove", "--profile", str(stage), *names], tell, cancel)

    def _install(self, stage: Path, package: Installable, tell: Tell, cancel: threading.Event) -> None:
        options = []
        if package.priority is not None and package.priority != 5:
            if self._nix_version() < (2, 9):
                raise Unsupported(
                    f"Nix {'.'.join(map(str, self._nix_version()))} can't give packages of a profile a priority",
                    next_step="leave spec.priority out, or use Nix 2.9 or later",
                )
            options = ["--priority", str(package.priority)]
        # Its name is `add` since 2.28; `install` stays an alias. One by one: Nix 2.8 mixes up outputs of one package.
        for each in self._references(package):
            arguments = [
                "profile",
                "install",
                "--profile",
                str(stage),
                "--no-write-lock-file",
                *options,
                each,
            ]
            nix_long(f"installing {package.attribute}", arguments, tell, cancel)

    def _references(self, package: Installable) -> list[str]:
        """What `nix` calls it: since 2.9 one that names the outputs, before one each."""
        reference = f"{package.flake or self._flake}#{package.attribute}"
        if not package.outputs:
            return [reference]
        if self._nix_version() >= (2, 9):
            return [f"{reference}^{','.join(sorted(package.outputs))}"]
        return [f"{reference}.{output}" for output in sorted(package.outputs)]

    def _called(self, element: Element) -> str:
        """What `nix profile remove` calls it: indexes went with 2.20, also where the manifest has no names yet."""
        if element.handle.isdecimal() and element.store_paths and self._nix_version() >= (2, 20):
            return element.store_paths[0]
        return element.handle

    def _nix_version(self) -> tuple[int, ...]:
        if not self._version:
            self._version = nix_version()
        return self._version

    @contextmanager
    def _stage(self, target: str) -> Iterator[Path]:
        """A profile of its own that holds what ours does; gone afterwards."""
        self._tidy()
        folder = Path(tempfile.mkdtemp(prefix=_STAGE, dir=self._folder))
        try:
            stage = folder / "profile"
            if target:
                stage.symlink_to(target)
            yield stage
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _tidy(self) -> None:
        """Removes what one that was killed left behind; nobody else is at it."""
        for left in self._folder.glob(f"{_STAGE}*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One change at a time, of all processes."""
        if self._unsupported:
            raise Unsupported(self._unsupported)
        with self._lock:
            try:
                self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
                descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise Forbidden(
                    f"{self._folder} can't be changed: {error.strerror}",
                    next_step="run the daemon as root, or give it a folder of its own (NCC_PACKAGES_PROFILE)",
                ) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)


def lock(flake: str) -> Lock:
    """A flake at the revision that it has now."""
    found = nix_json(["flake", "metadata", "--json", "--no-write-lock-file", flake])
    try:
        locked = found["locked"]
        return Lock(
            flake=flake,
            original_url=found["originalUrl"],
            locked_url=found["url"],
            revision=found.get("revision")
            or found.get("dirtyRevision")
            or locked.get("narHash")
            or found["url"],
            last_modified=int(found.get("lastModified") or 0),
        )
    except (KeyError, TypeError) as error:
        raise InvalidRequest(f"{flake} is no flake that can be locked: {error}") from error


def _number(link: Path) -> int:
    match = re.fullmatch(r"profile-(\d+)-link", link.name)
    return int(match[1]) if match else 0
