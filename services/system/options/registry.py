"""Which options the host has: the index that is in use, made anew when its source changes.

An index that was made by hand (from a flake or a file) comes first, then the file that the setting `options` names,
then the manual of the running system. The setting `off` ends all checking.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog

from common.errors import ControlError, NotFound, WrongState
from common.json_text import JsonValue
from services.system.drivers import option_index, option_sources
from services.system.drivers.option_index import OptionIndex
from services.system.options.models import IndexInfo, Option, Wrong
from services.system.options.validation import validate

log = structlog.get_logger()

MANUAL = "run/current-system/sw/share/doc/nixos/options.json"
OFF = "off"


class OptionRegistry:
    """Indexes lie in `folder`. Safe to call from many threads."""

    def __init__(self, root: Path, folder: Path, setting: str = "") -> None:
        self._root, self._folder, self._setting = root, folder, setting
        self._lock = threading.Lock()
        self._open: tuple[Path, tuple[int, int], OptionIndex] | None = None
        # What can't be read is tried again once it has changed.
        self._failed: tuple[str, ControlError] | None = None

    def close(self) -> None:
        """Closes the index."""
        with self._lock:
            self._leave()

    def index(self) -> OptionIndex:
        """The index in use. NotFound where the host tells its options nowhere, what reading a source raised."""
        found = self.find()
        if found is None:
            raise NotFound(
                "the options of this host's NixOS are not known",
                next_step=f"it has no {self._root / MANUAL}; ncc option refresh reads them from a flake or a file",
            )
        return found

    def find(self) -> OptionIndex | None:
        """As `index`; None where there is none."""
        if self._setting == OFF:
            return None
        with self._lock:
            made = self._folder / "made.index"
            if made.exists():
                try:
                    return self._opened(made)
                except WrongState as error:
                    log.warning("option index left out", path=str(made), error=error.message)
            source = Path(self._setting) if self._setting else self._root / MANUAL
            stamp = _stamp(source)
            if not stamp:
                if self._setting:
                    raise NotFound(f"the options' file {source} is not there")
                return None
            return self._of_file(source, stamp)

    def validate(self, options: Mapping[str, JsonValue]) -> list[Wrong]:
        """What NixOS would not take; empty too where nothing is known about its options."""
        index = self.find()
        return [] if index is None else validate(index, options)

    def make(self, options: Iterable[Option], source: str, origin: str) -> IndexInfo:
        """Makes an index that stays in use until it is forgotten or made anew."""
        option_index.build(self._folder / "made.index", options, {"source": source, "origin": origin})
        return self.index().info()

    def forget(self) -> bool:
        """Drops the index that was made by hand; whether there was one."""
        with self._lock:
            self._leave()
            try:
                (self._folder / "made.index").unlink()
            except FileNotFoundError:
                return False
            return True

    def _of_file(self, source: Path, stamp: str) -> OptionIndex:
        path = self._folder / "host.index"
        if path.exists():
            try:
                index = self._opened(path)
            except WrongState:
                pass  # made anew
            else:
                if index.fact("stamp") == stamp:
                    return index
        if self._failed is not None and self._failed[0] == stamp:
            raise self._failed[1]
        try:
            facts = {
                "source": str(source),
                "origin": "file" if self._setting else "manual",
                "digest": option_sources.digest(source),
                "stamp": stamp,
            }
            count = option_index.build(path, option_sources.read(source), facts)
        except ControlError as error:
            self._failed = stamp, error
            raise
        log.info("options indexed", source=str(source), options=count)
        return self._opened(path)

    def _opened(self, path: Path) -> OptionIndex:
        status = path.stat()
        mark = (status.st_ino, status.st_mtime_ns)
        if self._open is not None and self._open[:2] == (path, mark):
            return self._open[2]
        index = OptionIndex(path)
        self._leave()
        self._open = path, mark, index
        return index

    def _leave(self) -> None:
        # Whoever still reads from the old one has a reference; it is closed with the last.
        self._open = None


def _stamp(source: Path) -> str:
    """Changes with the file; empty: it is not there."""
    try:
        real = os.path.realpath(source)
        status = os.stat(real)
    except OSError:
        return ""
    return f"{real} {status.st_size} {status.st_mtime_ns}"
