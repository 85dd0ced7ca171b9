"""Containers that are there, written in a form of others."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from common.spec_json import to_json
from services.homelab.containers import inspection
from services.homelab.drivers.base import Engine, Json
from services.homelab.exports import compose, nixos
from services.homelab.exports.exported import Exported, Note
from services.homelab.exports.nix_text import expression


class Form(StrEnum):
    """How it is written."""

    COMPOSE = "COMPOSE"
    NIXOS = "NIXOS"
    MANIFEST = "MANIFEST"


def text(engine: Engine, inspected: Sequence[Json], form: Form) -> tuple[str, Sequence[Note]]:
    """The whole file, and what is lost in it."""
    names = {str(row.get("Id", "")): _name(row) for row in inspected}
    containers = [_exported(engine, one, names) for one in inspected]
    if form is Form.COMPOSE:
        document, notes = compose.document(containers)
        return _yaml([document]), notes
    if form is Form.NIXOS:
        tree, notes = nixos.options(containers, engine.name)
        return expression(tree) + "\n", notes
    return (
        _yaml(
            [
                {
                    "kind": "Container",
                    "metadata": {"name": one.name},
                    "spec": to_json(one.spec, mask=False),
                }
                for one in containers
            ]
        ),
        (),
    )


def _exported(engine: Engine, inspected: Json, names: dict[str, str]) -> Exported:
    image = engine.images.inspect(str(inspected.get("Image", "")))

    def name_of(identifier: str) -> str:
        if identifier not in names:
            other = engine.containers.inspect(identifier)
            names[identifier] = _name(other) if other else ""
        return names[identifier]

    return Exported(_name(inspected), inspection.spec(inspected, image, name_of))


def _name(inspected: Json) -> str:
    return str(inspected.get("Name", "")).removeprefix("/")


def _yaml(documents: Sequence[object]) -> str:
    import yaml

    return str(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True))
