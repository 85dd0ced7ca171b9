"""NixOS options: ones that NixOS has, carried into Nix as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import nixos_options
from nixcc.packages.v1 import substituter_pb2
from nixcc.resource.v1.resource_pb2 import Renderings
from services.packages.rendering import attributes_of, nix_settings, settings_of, system_packages
from services.system.generation.desired import merge

CACHE = substituter_pb2.Substituter(url="https://c.example", public_keys=["c.example-1:x"], priority=3)
RENDERED = {"packages": system_packages(["jq", "python3Packages.requests"]), "cache": nix_settings(CACHE)}


def leaves(options: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, value in options.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from leaves(value, here)
        else:
            yield here


@pytest.mark.parametrize("what", RENDERED)
def test_every_option_is_one_of_nixos(what: str) -> None:
    assert set(leaves(RENDERED[what])) <= nixos_options.types().keys()


def test_they_can_be_read_back() -> None:
    assert attributes_of(RENDERED["packages"]) == ["jq", "python3Packages.requests"]
    assert settings_of(RENDERED["cache"]) == (["https://c.example?priority=3"], ["c.example-1:x"])
    assert attributes_of({}) == []
    assert settings_of({}) == ((), ())


def test_they_become_part_of_a_generation() -> None:
    """As the system service, the other side of the wire, merges them."""
    renderings = Renderings()
    for name, options in {**RENDERED, "more": system_packages(["git", "jq"])}.items():
        renderings.resources.add(kind="X", name=name, options_json=json.dumps(options))
    options = json.loads(merge(renderings).text)["options"]
    assert attributes_of(options) == ["git", "jq", "jq", "python3Packages.requests"]
    assert options["nix"]["settings"]["trusted-public-keys"] == ["c.example-1:x"]
