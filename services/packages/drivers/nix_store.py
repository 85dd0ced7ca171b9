"""The Nix store, through Nix's own commands of any version."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import CommandFailed, InvalidRequest, NotFound, Unsupported
from common.process import stream
from nixcc.resource.v1.resource_pb2 import Progress
from services.packages.drivers.base import Tell
from services.packages.drivers.nix import BUILD, failed, nix, nix_json
from services.packages.models import Root, RootState, StoreObject, Verified

_DAMAGED = re.compile(r"path '([^']+)' was modified")
_MISSING = re.compile(r"path '([^']+)' (?:disappeared|is missing)")
_REPAIRED = re.compile(r"repairing path '([^']+)'|path '([^']+)' .*?repaired")
_CHECKING = re.compile(r"checking(?: contents of)? '([^']+)'")
_FREED = re.compile(r"([0-9.]+) ([KMGT]?i?B) freed by hard-linking ([0-9]+) files")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SYSTEM_LINK = re.compile(r"system-(\d+)-link")
# Paths a command line holds.
_CHUNK = 500


class NixStore:
    """See StoreDriver. Systems that are kept are those of `root`."""

    def __init__(self, root: Path, profile: Path, unsupported: str = "") -> None:
        self._root = root
        self._profile = profile
        self._unsupported = unsupported
        self._store_dir = ""

    def store_dir(self) -> str:
        """See StoreDriver."""
        if not self._store_dir:
            if self._unsupported:
                raise Unsupported(self._unsupported)
            shown = nix(["eval", "--impure", "--raw", "--expr", "builtins.storeDir"]).text.strip()
            self._store_dir = shown
        return self._store_dir

    def resolve(self, link: str) -> str:
        """See StoreDriver."""
        store = self.store_dir()
        real = os.path.realpath(link)
        if not real.startswith(f"{store}/") or not os.path.lexists(real):
            raise NotFound(f"{link} is not in the Nix store {store}")
        return f"{store}/{real.removeprefix(f'{store}/').partition('/')[0]}"

    def closure(self, paths: Sequence[str]) -> Mapping[str, StoreObject]:
        """See StoreDriver."""
        if not paths:
            return {}
        self.store_dir()
        found = nix_json(["path-info", "--json", "--recursive", *paths])
        return {row.path: row for row in _objects(found)}

    def referrers(self, path: str, *, indirect: bool) -> Sequence[StoreObject]:
        """See StoreDriver."""
        self.store_dir()
        what = "--referrers-closure" if indirect else "--referrers"
        lines = nix(["nix-store", "--query", what, path]).text.split("\n")
        others = [line for line in lines if line and line != path]
        return list(self._infos(others))

    def roots(self) -> Sequence[Root]:
        """See StoreDriver."""
        kept = self._kept()
        self._hold(kept.values())
        own = {str(self._profile.parent / f"{self._profile.name}-")}
        found = []
        for line in nix(["nix-store", "--gc", "--print-roots"]).text.splitlines():
            link, _, path = line.partition(" -> ")
            if not path:
                continue
            inside = any(link.startswith(start) for start in own)
            current = inside and os.path.realpath(self._profile) == os.path.realpath(link)
            state = RootState.KEPT if path in kept.values() or current else RootState.PLAIN
            found.append(Root(link, path, state))
        return found

    def dead(self) -> Mapping[str, int]:
        """See StoreDriver."""
        self._hold(self._kept().values())
        lines = nix(["nix-store", "--gc", "--print-dead"]).text.splitlines()
        dead = [line for line in lines if line.startswith(self.store_dir())]
        sizes = {row.path: row.size for row in self._infos(dead)}
        # What is no valid path (a build that was broken off) has no size on record.
        return {path: sizes.get(path, 0) for path in dead}

    def collect(self, max_bytes: int, tell: Tell, cancel: threading.Event) -> Mapping[str, int]:
        """See StoreDriver."""
        sizes = self.dead()
        arguments = ["nix-store", "--gc"]
        if max_bytes > 0:
            arguments += ["--max-freed", str(max_bytes)]
        total, gone = len(sizes), 0

        def line(text: str) -> None:
            nonlocal gone
            if text.startswith("deleting '"):
                gone += 1
                percent = min(99, gone * 100 // max(1, total))
                tell(Progress(message=text[:200], percent=percent))

        try:
            stream(arguments, on_line=line, cancel=cancel, timeout=BUILD)
        except CommandFailed as error:
            raise failed(error) from error
        return {path: size for path, size in sizes.items() if not os.path.lexists(path)}

    def verify(self, *, repair: bool, tell: Tell, cancel: threading.Event) -> Verified:
        """See StoreDriver."""
        self.store_dir()
        checked = 0
        damaged: dict[str, None] = {}
        missing: dict[str, None] = {}
        repaired: dict[str, None] = {}

        def line(text: str) -> None:
            nonlocal checked
            if match := _CHECKING.search(text):
                checked += 1
                if checked % 100 == 1:
                    tell(Progress(message=f"{checked} paths checked"))
            elif match := _DAMAGED.search(text):
                damaged[match[1]] = None
                tell(Progress(message=f"{match[1]} is damaged", log_line=text[:2000]))
            elif match := _MISSING.search(text):
                missing[match[1]] = None
                tell(Progress(message=f"{match[1]} is gone", log_line=text[:2000]))
            elif match := _REPAIRED.search(text):
                repaired[match[1] or match[2]] = None

        # Without -v it does not tell what it checks.
        arguments = ["nix-store", "--verify", "--check-contents", "-v", *(["--repair"] if repair else [])]
        try:
            done = stream(arguments, on_line=line, cancel=cancel, timeout=BUILD, check=False)
        except CommandFailed as error:
            raise failed(error) from error
        if done.exit_code and not damaged and not missing:
            raise failed(CommandFailed(arguments, done.exit_code, done.stderr.decode(errors="replace")))
        if repair and damaged:
            still = self._damaged_still(damaged)
            repaired = dict.fromkeys(path for path in damaged if path not in still)
            damaged = dict.fromkeys(still)
        return Verified(checked, tuple(damaged), tuple(missing), tuple(repaired))

    def optimise(self, tell: Tell, cancel: threading.Event) -> tuple[int, int]:
        """See StoreDriver."""
        self.store_dir()
        tell(Progress(message="looking for equal files"))
        try:
            done = stream(["nix-store", "--optimise"], on_line=lambda _: None, cancel=cancel, timeout=BUILD)
        except CommandFailed as error:
            raise failed(error) from error
        match = _FREED.search(done.stderr.decode(errors="replace") + done.text)
        if match is None:
            return 0, 0
        return int(match[3]), int(float(match[1]) * _UNITS.get(match[2], 1))

    def _damaged_still(self, paths: Iterable[str]) -> list[str]:
        still = []
        for path in paths:
            try:
                nix(["nix-store", "--verify-path", path])
            except (CommandFailed, InvalidRequest):
                still.append(path)
        return still

    def _infos(self, paths: Sequence[str]) -> Iterable[StoreObject]:
        for start in range(0, len(paths), _CHUNK):
            yield from _objects(nix_json(["path-info", "--json", *paths[start : start + _CHUNK]]))

    def _kept(self) -> dict[str, str]:
        """Systems that must never go: running, booted, the profile's current one and the one before."""
        found: dict[str, str] = {}
        links = {"running": "run/current-system", "booted": "run/booted-system"}
        profiles = self._root / "nix/var/nix/profiles"
        current = profiles / "system"
        generations = sorted(
            (int(match[1]), path)
            for path in profiles.glob("system-*-link")
            if (match := _SYSTEM_LINK.fullmatch(path.name))
        )
        if current.is_symlink():
            links["current"] = "nix/var/nix/profiles/system"
            name = os.readlink(current)
            numbers = [number for number, path in generations if path.name == name]
            before = [path for number, path in generations if numbers and number < numbers[0]]
            if before:
                links["previous"] = str(before[-1].relative_to(self._root))
        for name, link in links.items():
            try:
                found[name] = self.resolve(str(self._root / link))
            except NotFound:
                continue  # there is none, or it is no longer in the store
        return found

    def _hold(self, paths: Iterable[str]) -> None:
        """Makes roots of them: a host may have its links where Nix does not look."""
        folder = _gc_roots(self.store_dir()) / "nixcc"
        wanted = {os.path.basename(path): path for path in paths}
        if wanted:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not folder.is_dir():
            return
        for name, path in wanted.items():
            link = folder / name
            if not link.is_symlink():
                link.symlink_to(path)
        for link in folder.iterdir():
            if link.is_symlink() and link.name not in wanted:
                link.unlink()


def _gc_roots(store_dir: str) -> Path:
    state = os.environ.get("NIX_STATE_DIR")
    return Path(state) / "gcroots" if state else Path(store_dir).parent / "var/nix/gcroots"


def _objects(found: object) -> Iterable[StoreObject]:
    """`nix path-info --json`: an array up to 2.18, then an object by path, then that in `info` with bare names."""
    prefix = ""
    if isinstance(found, dict) and isinstance(found.get("info"), dict):
        prefix, found = f"{found.get('storeDir', '/nix/store')}/", found["info"]
    if isinstance(found, dict):
        rows = [{"path": path, **row} for path, row in found.items() if isinstance(row, dict)]
    else:
        assert isinstance(found, list)
        # What is not valid is null, or says so.
        rows = [row for row in found if isinstance(row, dict) and row.get("valid", True)]

    def whole(path: str) -> str:
        return path if path.startswith("/") else prefix + path

    for row in rows:
        references = tuple(sorted(map(whole, row.get("references") or ())))
        yield StoreObject(whole(row["path"]), int(row.get("narSize") or 0), references)
