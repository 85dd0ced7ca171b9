"""The index of a NixOS's options: one SQLite file a source, written beside and put in place whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

from common.errors import WrongState
from services.system.options import paths
from services.system.options.models import Child, IndexInfo, Node, Option

FORMAT = 1  # of the file; another one is made anew

_LITERAL, _NAME, _ELEMENT, _CLEANED = range(4)
_WORD = re.compile(r"[^\W_]+")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_UNCLEAN = re.compile(r"[^A-Za-z0-9_.-]")
_MOST_WORDS = 12
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE option (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, dflt TEXT NOT NULL, example TEXT NOT NULL,
  description TEXT NOT NULL, declarations TEXT NOT NULL, read_only INTEGER NOT NULL
);
CREATE INDEX option_name ON option (name);
CREATE TABLE node (
  id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL,
  option INTEGER, below INTEGER NOT NULL
);
CREATE UNIQUE INDEX node_name ON node (parent, name);
CREATE VIRTUAL TABLE words USING fts5(
  name, parts, description, content='', tokenize='unicode61 remove_diacritics 2', prefix='2 3'
);
"""
_OPTION = (
    "SELECT o.name, o.type, o.dflt, o.example, o.description, o.declarations, o.read_only FROM option o "
)
_NODE = (
    "SELECT n.id, n.name, o.type, n.below > 0, o.read_only FROM node n LEFT JOIN option o ON o.id = n.option "
)


def build(target: Path, options: Iterable[Option], facts: Mapping[str, str | int]) -> int:
    """Writes an index over what is there; a kill leaves the old one. The number of options."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    try:
        database = apsw.Connection(str(fresh))
        try:
            database.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 4096")
            database.execute(_SCHEMA)
            with database:
                count = _fill(database, options)
                values = {**facts, "format": FORMAT, "options": count, "built": time.time()}
                database.executemany("INSERT INTO meta VALUES (?, ?)", list(values.items()))
        finally:
            database.close(True)
        with open(fresh, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return count


def _fill(database: apsw.Connection, options: Iterable[Option]) -> int:
    # Per node: id, kind, option, options below it.
    nodes: dict[tuple[int, str], list[Any]] = {}
    by_id: list[list[Any]] = [[0, _LITERAL, None, 0]]
    count = 0
    for count, option in enumerate(options, 1):
        row = (
            count,
            paths.show(option.loc),
            option.type,
            option.default,
            option.example,
            option.description,
            json.dumps(option.declarations),
            option.read_only,
        )
        database.execute("INSERT INTO option VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        parts = " ".join(part for step in option.loc for part in _HUMPS.split(step) if part != step)
        database.execute(
            "INSERT INTO words (rowid, name, parts, description) VALUES (?, ?, ?, ?)",
            (count, " ".join(option.loc), parts, option.description),
        )
        here = 0
        for step in option.loc:
            by_id[here][3] += 1
            node = nodes.get((here, step))
            if node is None:
                node = nodes[here, step] = [len(by_id), _kind(step), None, 0]
                by_id.append(node)
            here = node[0]
        by_id[here][2] = count
    database.executemany(
        "INSERT INTO node VALUES (?, ?, ?, ?, ?, ?)",
        ((node[0], parent, name, *node[1:]) for (parent, name), node in nodes.items()),
    )
    database.execute("INSERT INTO node VALUES (0, -1, '', 0, NULL, ?)", (by_id[0][3],))
    return count


def _kind(step: str) -> int:
    if step == "*":
        return _ELEMENT
    if paths.is_placeholder(step):
        return _NAME
    # Left by sources that write `a:b` as `a_b`.
    return _CLEANED if "_" in step or "." in step else _LITERAL


class OptionIndex:
    """An index opened for reading. Safe to call from many threads."""

    def __init__(self, path: Path) -> None:
        """WrongState where the file is none, or of another format."""
        self._lock = threading.Lock()
        self._database: apsw.Connection | None = None
        try:
            self._database = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            self._meta = dict(self._database.execute("SELECT key, value FROM meta"))
        except apsw.Error as error:
            self.close()
            raise WrongState(f"the option index {path} can't be read: {error}") from error
        if self._meta.get("format") != FORMAT:
            self.close()
            raise WrongState(f"the option index {path} is of another format")

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            if self._database is not None:
                self._database.close(True)
                self._database = None

    def info(self) -> IndexInfo:
        """Where it came from."""
        meta = self._meta
        return IndexInfo(
            meta.get("source", ""),
            meta.get("origin", ""),
            meta["options"],
            meta.get("digest", ""),
            meta["built"],
        )

    def fact(self, name: str) -> str:
        """One of the facts that it was built with."""
        return str(self._meta.get(name, ""))

    def root(self) -> Node:
        """Where all options lie below."""
        return Node(0, "", None, True)

    def child(self, node: int, name: str) -> Node | None:
        """The child of just that name."""
        found = self._node("WHERE n.parent = ? AND n.name = ? AND n.kind IN (0, 3)", node, name)
        if found is None and _UNCLEAN.search(name):
            cleaned = _UNCLEAN.sub("_", name)
            found = self._node("WHERE n.parent = ? AND n.name = ? AND n.kind = 3", node, cleaned)
        return found

    def placeholder(self, node: int, *, element: bool) -> Node | None:
        """The child that stands for any name, or for any element of a list."""
        kinds = "2, 1" if element else "1, 2"
        return self._node(
            f"WHERE n.parent = ? AND n.kind IN ({kinds}) ORDER BY n.kind {'DESC' if element else ''}", node
        )

    def names(self, node: int) -> Sequence[str]:
        """Names of all children."""
        return [row[0] for row in self._rows("SELECT name FROM node WHERE parent = ? ORDER BY name", node)]

    def find(self, path: Sequence[str]) -> Node | None:
        """The node that a path leads to; names that the index does not have may be met by placeholders."""
        here: Node | None = self.root()
        for step in path:
            assert here is not None  # left below
            if step == "*" or paths.is_placeholder(step):
                here = self.placeholder(here.id, element=step == "*")
            else:
                here = self.child(here.id, step) or self.placeholder(here.id, element=step.isdigit())
            if here is None:
                return None
        return here

    def option(self, node: int) -> Option | None:
        """The option of a node."""
        rows = self._rows(_OPTION + "JOIN node n ON n.option = o.id WHERE n.id = ?", node)
        return _option(rows[0]) if rows else None

    def children(self, node: int) -> list[Child]:
        """All children, by name."""
        query = (
            "SELECT n.name, o.type, n.below, coalesce(o.description, '') FROM node n"
            " LEFT JOIN option o ON o.id = n.option WHERE n.parent = ? ORDER BY n.name"
        )
        return [
            Child(name, kind, below, _summary(text)) for name, kind, below, text in self._rows(query, node)
        ]

    def under(self, prefix: str, limit: int) -> list[Option]:
        """Options whose names begin with the path, by name."""
        query = _OPTION + "WHERE o.name = ? OR (o.name > ? AND o.name < ?) ORDER BY o.name LIMIT ?"
        if not prefix:
            return [_option(row) for row in self._rows(_OPTION + "ORDER BY o.name LIMIT ?", limit)]
        return [_option(row) for row in self._rows(query, prefix, prefix + ".", prefix + "/", limit)]

    def search(self, query: str, *, limit: int, prefix: str = "") -> list[Option]:
        """The best first: the name itself, names that begin or end so, then by how well the words fit."""
        found: dict[str, Option] = {}
        for rows in self._tiers(query.strip(), limit, prefix):
            for row in rows:
                found.setdefault(row[0], _option(row))
            if len(found) >= limit:
                break
        return list(found.values())[:limit]

    def _tiers(self, text: str, limit: int, prefix: str) -> Iterator[list[Any]]:
        # `0` follows `/` follows `.`: what begins with a path.
        within = " AND o.name >= ? AND o.name < ?" if prefix else ""
        bounds = (prefix + ".", prefix + "/") if prefix else ()
        plain = "\0" not in text and bool(text)
        if plain:
            yield self._rows(_OPTION + f"WHERE o.name = ?{within} LIMIT ?", text, *bounds, limit)
            begins = f"WHERE o.name > ? AND o.name < ?{within} ORDER BY length(o.name), o.name LIMIT ?"
            yield self._rows(_OPTION + begins, text, text + "\U0010ffff", *bounds, limit)
        words = _WORD.findall(text)[:_MOST_WORDS]
        if not words:
            return
        ranked = (
            "JOIN words w ON w.rowid = o.id WHERE words MATCH ?"
            f"{within} ORDER BY bm25(words, 10.0, 8.0, 1.0), length(o.name) LIMIT ?"
        )
        for way in (" AND ", " OR ") if len(words) > 1 else (" AND ",):
            match = way.join(f'"{word}"*' for word in words)
            yield self._rows(_OPTION + ranked, match, *bounds, limit)
        yield self._rows(
            _OPTION + f"WHERE instr(lower(o.name), ?){within} LIMIT ?", text.lower(), *bounds, limit
        )

    def _node(self, where: str, *values: object) -> Node | None:
        rows = self._rows(_NODE + where + " LIMIT 1" if "ORDER" in where else _NODE + where, *values)
        if not rows:
            return None
        number, name, kind, below, read_only = rows[0]
        return Node(number, name, kind, bool(below), bool(read_only))

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with self._lock:
            if self._database is None:
                raise WrongState("the option index is closed")
            try:
                return list(self._database.execute(query, values))
            except apsw.Error as error:
                raise WrongState(f"the option index can't be read: {error}") from error


def _option(row: Any) -> Option:
    name, kind, default, example, description, declarations, read_only = row
    loc: tuple[str, ...] = (name,)
    with contextlib.suppress(ValueError):
        loc = paths.parse(name)
    return Option(loc, kind, default, example, description, tuple(json.loads(declarations)), bool(read_only))


def _summary(text: str) -> str:
    line = " ".join(text.split())
    head, stop, _ = line.partition(". ")
    return (head + stop.strip())[:200]
