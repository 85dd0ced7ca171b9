"""Makes the index of a flake's packages, as a process of its own: `python -m … LISTING TARGET BEFORE FACTS`.

LISTING is what `nix-env -qaP --json --meta` prints, or nixpkgs' own packages.json (plain, .gz or .xz). FACTS is JSON:
flake, locked_url, revision, created. Progress goes to standard error, one number of packages a line.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw

FORMAT = 2

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE platforms(id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE);
CREATE TABLE packages(
  id INTEGER PRIMARY KEY, attr TEXT NOT NULL, pname TEXT NOT NULL, version TEXT NOT NULL, description TEXT NOT NULL,
  licenses TEXT NOT NULL, flags INTEGER NOT NULL, platforms INTEGER NOT NULL, homepage TEXT NOT NULL,
  program TEXT NOT NULL, outputs TEXT NOT NULL, near INTEGER NOT NULL);
CREATE VIRTUAL TABLE search USING fts5(
  attr, pname, description, content='', detail=column, prefix='1 2 3', tokenize='unicode61 remove_diacritics 2');
CREATE TABLE revisions(id INTEGER PRIMARY KEY, revision TEXT NOT NULL, url TEXT NOT NULL UNIQUE, created REAL NOT NULL);
CREATE TABLE versions(
  attr TEXT NOT NULL, version TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY(attr, version)) WITHOUT ROWID;
"""
_INDEXES = """
CREATE UNIQUE INDEX by_attr ON packages(attr);
CREATE INDEX by_lower_attr ON packages(lower(attr), near, flags, platforms);
CREATE INDEX by_lower_pname ON packages(lower(pname), near, flags, platforms);
"""
UNFREE, BROKEN, INSECURE = 1, 2, 4
# Nix leaves out the value of an attribute whose evaluation fails.
_HOLE = re.compile(r'("(?:[^"\\]|\\.)*"\s*:\s*)(?=[,}\]])')
_BLANKS = re.compile(r"[\s,:]*")
_EVERY = 2_000


def main(arguments: list[str]) -> int:
    """0: TARGET is whole and on the disk."""
    listing, target, before, facts = arguments
    build(Path(listing), Path(target), Path(before) if before else None, json.loads(facts))
    return 0


def build(listing: Path, target: Path, before: Path | None, facts: Mapping[str, Any]) -> int:
    """Writes the index; gives the number of packages. Raises ValueError for a listing that is none."""
    text = _read(listing)
    target.unlink(missing_ok=True)
    database = apsw.Connection(str(target))
    try:
        # Whoever dies here leaves a file that nobody uses: it gets its name only when it is whole.
        database.execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 8192")
        with database:
            database.execute(_SCHEMA)
            count = _fill(database, text)
            if not count:
                raise ValueError(f"{listing} lists no packages")
            _versions(database, before, facts)
            rows = {"format": FORMAT, "packages": count, **facts}
            database.executemany("INSERT INTO meta VALUES (?, ?)", list(rows.items()))
            database.execute(_INDEXES)
            database.execute("INSERT INTO search(search) VALUES ('optimize')")
        database.execute("ANALYZE")
    finally:
        database.close()
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return count


def packages(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Attribute paths and what is listed of each, one at a time: the whole as objects takes ten times its size."""
    decoder = json.JSONDecoder()
    at = _open(text, 0)
    while True:
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return
        key, at = decoder.raw_decode(text, at)
        at = _skip(text, at)
        if key == "packages" and _nested(text, at):
            yield from packages(text[at:])
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError:
            text = text[:at] + _HOLE.sub(r"\1null", text[at:])
            value, end = decoder.raw_decode(text, at)
        at = end
        if isinstance(value, dict):
            yield key, value


def _open(text: str, at: int) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != "{":
        raise ValueError("it is no JSON object")
    return at + 1


def _skip(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return match.end() if match else at


def _nested(text: str, at: int) -> bool:
    """Whether the value is an object of objects that each have a name: packages.json, not a package of that name."""
    try:
        key, end = json.JSONDecoder().raw_decode(text, _open(text, at))
        value, _ = json.JSONDecoder().raw_decode(text, _skip(text, end))
    except ValueError:
        return text[at : at + 2] == "{}"
    return isinstance(key, str) and isinstance(value, dict) and "name" in value and "system" in value


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        elif path.suffix == ".xz":
            data = lzma.decompress(data)
        return data.decode("utf-8", errors="replace")
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is cut or damaged: {error}") from error


def _fill(database: apsw.Connection, text: str) -> int:
    platform_ids: dict[str, int] = {}
    count = 0
    package = "INSERT OR IGNORE INTO packages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    words = "INSERT INTO search(rowid, attr, pname, description) VALUES (?, ?, ?, ?)"
    for attr, row in packages(text):
        name = _text(row.get("name"))
        if not name and not row.get("pname"):
            continue
        count += 1
        meta = row.get("meta") if isinstance(row.get("meta"), dict) else {}
        assert isinstance(meta, dict)
        platforms = " ".join(sorted({p for p in _list(meta.get("platforms")) if isinstance(p, str)}))
        if platforms not in platform_ids:
            platform_ids[platforms] = len(platform_ids)
            database.execute("INSERT INTO platforms VALUES (?, ?)", (platform_ids[platforms], platforms))
        licenses, unfree = _licenses(meta)
        flags = UNFREE * unfree + BROKEN * bool(meta.get("broken"))
        flags += INSECURE * bool(meta.get("insecure") or meta.get("knownVulnerabilities"))
        pname = _text(row.get("pname")) or name
        description = " ".join(_text(meta.get("description")).split())[:1000]
        homepage = next((_text(page) for page in _list(meta.get("homepage"))), "")
        outputs = row.get("outputs")
        values = (
            *(count, attr, pname, _text(row.get("version")), description, licenses, flags),
            *(platform_ids[platforms], homepage, _text(meta.get("mainProgram"))),
            " ".join(sorted(outputs)) if isinstance(outputs, dict) else "",
            # Few parts and a short name come first.
            attr.count(".") * 1_000 + min(len(attr), 999),
        )
        database.execute(package, values)
        database.execute(words, (count, attr, pname, description))
        if count % _EVERY == 0:
            _say(str(count))
    return count


def _licenses(meta: Mapping[str, Any]) -> tuple[str, bool]:
    found, unfree = [], bool(meta.get("unfree"))
    for row in _list(meta.get("license")):
        if isinstance(row, str):
            found.append(row)
        elif isinstance(row, dict):
            found.append(_text(row.get("spdxId") or row.get("shortName") or row.get("fullName")))
            unfree |= row.get("free") is False
    return "\n".join(filter(None, found)), unfree


def _versions(database: apsw.Connection, before: Path | None, facts: Mapping[str, Any]) -> None:
    """Which versions were seen where: those of the index before, then this one's."""
    if before is not None and before.exists():
        old = apsw.Connection(str(before), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            database.executemany(
                "INSERT INTO revisions VALUES (?, ?, ?, ?)", old.execute("SELECT * FROM revisions")
            )
            database.executemany(
                "INSERT INTO versions VALUES (?, ?, ?)", old.execute("SELECT * FROM versions")
            )
        except apsw.Error as error:
            _say(f"versions of the index before are lost: {error}")
            database.execute("DELETE FROM versions; DELETE FROM revisions")
        finally:
            old.close()
    url, created = facts["locked_url"], facts["created"]
    database.execute(
        "DELETE FROM revisions WHERE url = ? AND id NOT IN (SELECT revision FROM versions)", (url,)
    )
    database.execute(
        "INSERT INTO revisions(revision, url, created) VALUES (?1, ?2, ?3)"
        " ON CONFLICT(url) DO UPDATE SET revision = ?1, created = ?3",
        (facts["revision"], url, created),
    )
    database.execute(
        "INSERT OR REPLACE INTO versions SELECT attr, version, (SELECT id FROM revisions WHERE url = ?) FROM packages"
        " WHERE version != ''",
        (url,),
    )


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
