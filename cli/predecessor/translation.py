"""From the evaluated files to manifests and the report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cli.predecessor import desktop, machines, network, packages, remainder, users
from cli.predecessor.documents import Documents
from cli.predecessor.keys import Keys
from cli.predecessor.names import version_of
from cli.predecessor.report import Import
from cli.predecessor.tree import Leaf, leaves
from common.errors import InvalidRequest


class File(NamedTuple):
    """One file of the configuration: where its value belongs, and the value as ReadPredecessor sends it."""

    path: str
    attribute_path: tuple[str, ...]
    value_json: str


def translate(
    layout: str,
    files: Iterable[File],
    *,
    others: Iterable[tuple[str, str]] = (),
    texts: Mapping[str, str] | None = None,
) -> Import:
    """`layout` is `flat`, `nested` or `split`; `texts` are compose files by path.

    Raises InvalidRequest where a file is no attribute set.
    """
    found: list[Leaf] = []
    for file in files:
        found += _read(file)
    keys, documents, warnings = Keys(found), Documents(), list[str]()
    manager = "core.management.system-manager"
    version = version_of(keys.value(f"{manager}.configVersion"), layout)
    users.take(keys, documents, warnings)
    network.take(keys, documents, warnings)
    desktop.take(keys, documents, warnings)
    packages.take(keys, documents, warnings, version)
    machines.take(keys, documents, texts or {})
    remainder.take(keys, documents)
    return Import(version, layout, documents.documents(), keys.rows(), warnings, list(others))


def _read(file: File) -> list[Leaf]:
    try:
        tagged = json.loads(file.value_json)
        if tagged[0] != "set":
            what = {"lambda": "a function", "list": "a list", "null": "null"}.get(tagged[0], f"a {tagged[0]}")
            raise InvalidRequest(
                f"{file.path}:1 is {what}, not an attribute set",
                next_step="the predecessor's configurations are plain sets: `{ … }` without arguments",
            )
        return list(leaves(tagged, file.attribute_path))
    except RecursionError:
        raise InvalidRequest(
            f"{file.path} is nested too deep", next_step="look for a set that contains itself"
        ) from None
