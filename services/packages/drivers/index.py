"""The index of a flake's packages: one SQLite file a flake, made anew for each locked revision, replaced whole."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from common import failpoints
from common.errors import NotFound, WrongState
from services.packages.drivers.base import CatalogDriver, Tell
from services.packages.drivers.index_build import BROKEN, FORMAT, INSECURE, UNFREE
from services.packages.models import IndexInfo, Lock, PackageMeta, SeenVersion

T = TypeVar("T")

_WORD = re.compile(r"[^\W_]+")
_COLUMNS = (
    "p.id, p.attr, p.pname, p.version, p.description, p.licenses,"
    " p.flags, f.names, p.homepage, p.program, p.outputs"
)
_FROM = "packages p JOIN platforms f ON f.id = p.platforms"
_SELECT = f"SELECT {_COLUMNS} FROM {_FROM} WHERE "  # noqa: S608 (constants)
# Ordered within the indexes, which hold all that is asked here: only what is shown is read.
_ONE = "SELECT p.id AS id, p.near AS near FROM {0} WHERE lower(p.{1}) {2}{where}"
_NEAR = f"SELECT {_COLUMNS} FROM {_FROM} JOIN (SELECT id, near FROM ({{0}}) ORDER BY near, id LIMIT ?) n"  # noqa: S608


def _nearest(test: str) -> str:
    """Packages whose attribute path or name passes the test, those near the top and with short names first."""
    both = " UNION ".join(_ONE.format(_FROM, column, test, where="{where}") for column in ("attr", "pname"))
    return _NEAR.format(both) + " ON p.id = n.id ORDER BY n.near, p.attr"


_EQUAL, _BEGINS = _nearest("= ?"), _nearest("BETWEEN ? AND ?")
_BY_RANK = "ORDER BY bm25(s.search, 10.0, 10.0, 1.0)"
_WORDS = (
    f"SELECT {_COLUMNS} FROM search s JOIN packages p ON p.id = s.rowid"  # noqa: S608
    " JOIN platforms f ON f.id = p.platforms WHERE s.search MATCH ?{where} {order} LIMIT ?"
)
_USABLE = " AND p.flags = 0"
_MADE_FOR = " AND (f.names = '' OR instr(' ' || f.names || ' ', ' ' || ? || ' '))"
_LISTING = "?listing="
# Matches that are ranked.
_RANKED = 4_000
_MANY = f"SELECT count(*) FROM (SELECT 1 FROM search WHERE search MATCH ? LIMIT {_RANKED + 1})"  # noqa: S608
# More words than this narrow nothing down.
_MOST_WORDS = 16


class PackageIndexes:
    """All indexes of a folder. Safe to call from many threads."""

    def __init__(self, folder: Path, catalog: CatalogDriver) -> None:
        self._folder = folder
        self._catalog = catalog
        self._build = threading.Lock()
        self._lock = threading.Lock()
        # One connection an index, and the file that it is of.
        self._open: dict[Path, tuple[tuple[int, int], apsw.Connection, Any]] = {}

    def close(self) -> None:
        """Ends all connections."""
        with self._lock:
            for _, connection, _ in self._open.values():
                connection.close(True)
            self._open.clear()

    def refresh(
        self, flake: str, source: str, *, force: bool, now: float, tell: Tell, cancel: threading.Event
    ) -> tuple[IndexInfo, bool]:
        """Makes the index of the flake's revision unless it is there; whether it was made anew."""
        with self._build:
            lock = self._catalog.lock(flake) if not source else _of_file(flake, source)
            target = self._path(flake)
            if not force:
                try:
                    known = self.info(flake)
                except (NotFound, WrongState):
                    pass  # made anew
                else:
                    if known.locked_url == lock.locked_url:
                        return known, False
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self._folder.glob("*.new*"):
                left.unlink()  # of one that was killed; we hold the lock
            for folder in self._folder.glob("listing-*"):
                shutil.rmtree(folder, ignore_errors=True)
            fresh = target.with_suffix(".new")
            before = str(target) if target.exists() else ""
            try:
                self._catalog.build(lock, source, str(fresh), before, tell, cancel)
                failpoints.hit("packages.before_index")
                os.replace(fresh, target)
                failpoints.hit("packages.after_index")
            finally:
                fresh.unlink(missing_ok=True)
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            return self.info(flake), True

    def infos(self) -> Sequence[IndexInfo]:
        """All indexes that can be read, by flake."""
        found = []
        for path in self._folder.glob("*.index"):
            try:
                found.append(self._info(path))
            except WrongState:
                continue  # told when it is used
        return sorted(found, key=lambda info: info.flake)

    def info(self, flake: str) -> IndexInfo:
        """Facts about one; NotFound where there is none."""
        return self._info(self._path(flake))

    def search(
        self, flake: str, query: str, *, limit: int, usable_only: bool = False, platform: str = ""
    ) -> list[PackageMeta]:
        """The best matches first: equal to the query, beginning with it, then by how well its words fit."""
        text = query.replace("\0", " ").strip().lower()
        words = _WORD.findall(text)[:_MOST_WORDS]
        if not text:
            return []
        where, values = "", []
        if usable_only:
            where += _USABLE
        if platform:
            where, values = where + _MADE_FOR, [platform]

        def found(database: apsw.Connection) -> list[PackageMeta]:
            rows: dict[int, PackageMeta] = {}
            for found_rows in _tiers(database, text, words, where, values, limit):
                for row in found_rows:
                    rows.setdefault(row[0], _meta(row))
                if len(rows) >= limit:
                    break
            return list(rows.values())[:limit]

        return self._read(self._path(flake), found)

    def package(self, flake: str, attribute: str) -> PackageMeta:
        """One package, by attribute path or by a name that only one has."""

        def found(database: apsw.Connection) -> PackageMeta:
            rows = list(database.execute(_SELECT + "p.attr = ?", (attribute,)))
            if not rows:
                query = _SELECT + "lower(p.pname) = lower(?) LIMIT 20"
                rows = list(database.execute(query, (attribute,)))
            if len(rows) == 1:
                return _meta(rows[0])
            names = ", ".join(sorted(row[1] for row in rows)[:10])
            if rows:
                raise NotFound(f"{attribute} is no attribute path; packages of that name: {names}")
            near = self.search(flake, attribute, limit=3)
            close = "; did you mean " + ", ".join(meta.attribute for meta in near) + "?" if near else ""
            raise NotFound(
                f"there is no package {attribute!r} in {flake}{close}",
                next_step="ncc package search finds packages; ncc package refresh reads the flake anew",
            )

        return self._read(self._path(flake), found)

    def versions(self, flake: str, attribute: str) -> list[SeenVersion]:
        """Versions that were seen, the newest revision first; none where there is no index."""
        query = (
            "SELECT v.version, r.revision, r.url, r.created FROM versions v JOIN revisions r ON r.id = v.revision"
            " WHERE v.attr = ? ORDER BY r.created DESC, r.id DESC"
        )
        try:
            return self._read(
                self._path(flake),
                lambda database: [_seen(*row) for row in database.execute(query, (attribute,))],
            )
        except NotFound:
            return []

    def _path(self, flake: str) -> Path:
        return self._folder / f"{hashlib.sha256(flake.encode()).hexdigest()[:24]}.index"

    def _info(self, path: Path) -> IndexInfo:
        def found(database: apsw.Connection) -> IndexInfo:
            meta = dict(database.execute("SELECT key, value FROM meta"))
            size = path.stat().st_size
            return IndexInfo(
                meta["flake"], meta["locked_url"], meta["revision"], meta["packages"], meta["created"], size
            )

        return self._read(path, found)

    def _read(self, path: Path, function: Callable[[apsw.Connection], T]) -> T:
        """Calls it with a connection to the file that has the name now."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise NotFound(
                "there is no index of that flake's packages yet", next_step="make it: ncc package refresh"
            ) from None
        key = stat.st_ino, stat.st_mtime_ns
        try:
            with self._lock:
                known = self._open.get(path)
                if known is None or known[0] != key:
                    # The one before is closed when the last who reads it lets go.
                    known = key, _connect(path), threading.RLock()
                    self._open[path] = known
            with known[2]:
                return function(known[1])
        except (apsw.Error, KeyError) as error:
            raise WrongState(
                f"the index {path} is damaged: {error}", next_step="make it anew: ncc package refresh --force"
            ) from error


def _tiers(
    database: apsw.Connection, text: str, words: Sequence[str], where: str, values: Sequence[Any], limit: int
) -> Iterator[list[tuple[Any, ...]]]:
    yield list(database.execute(_EQUAL.replace("{where}", where), (text, *values, text, *values, limit)))
    last = text + "\U0010ffff"
    yield list(
        database.execute(_BEGINS.replace("{where}", where), (text, last, *values, text, last, *values, limit))
    )
    if words:
        match = " ".join(f'"{word}"*' for word in words)
        # What thousands have says little about any of them, and ranking them would take longest.
        many = database.execute(_MANY, (match,)).get > _RANKED
        order = "" if many else _BY_RANK
        query = _WORDS.replace("{where}", where).replace("{order}", order)
        yield list(database.execute(query, (match, *values, limit)))


def _connect(path: Path) -> apsw.Connection:
    database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        database.execute("PRAGMA query_only = ON; PRAGMA cache_size = -2048")
        found = database.execute("SELECT value FROM meta WHERE key = 'format'").get
        if found != FORMAT:
            raise apsw.CorruptError(f"its format is {found}, not {FORMAT}")
    except BaseException:
        database.close(True)
        raise
    return database


def _meta(row: Sequence[Any]) -> PackageMeta:
    flags = row[6]
    return PackageMeta(
        attribute=row[1],
        pname=row[2],
        version=row[3],
        description=row[4],
        licenses=tuple(row[5].split("\n")) if row[5] else (),
        unfree=bool(flags & UNFREE),
        broken=bool(flags & BROKEN),
        insecure=bool(flags & INSECURE),
        platforms=tuple(row[7].split()),
        homepage=row[8],
        main_program=row[9],
        outputs=tuple(row[10].split()),
    )


def _seen(version: str, revision: str, url: str, created: float) -> SeenVersion:
    # A prebuilt listing does not tell from where its packages could be installed.
    return SeenVersion(version, revision, "" if _LISTING in url else url, created)


def _of_file(flake: str, source: str) -> Lock:
    """A prebuilt listing is its own revision."""
    try:
        with open(source, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NotFound(f"{source} can't be read: {error.strerror}") from error
    return Lock(flake, flake, f"{flake}{_LISTING}{digest}", digest)
