"""What is declared reaches a NixOS configuration as data: through desired.json and back out of the real Nix."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidRequest
from nixcc.resource.v1.resource_pb2 import Renderings
from services.system.generation import desired

pytestmark = pytest.mark.host

# As much of nixpkgs' lib as the module uses: what mkMerge gives is looked into instead of being merged.
_EVALUATE = """
let
  module = import (FOLDER + "/module.nix") {
    lib = { mkMerge = contents: { inherit contents; }; };
    pkgs = { hello = "the package hello"; python3Packages.requests = "the package requests"; };
  };
in builtins.elemAt module.config.contents 0
"""
_PIECES = (
    "${builtins.abort \"code\"}", "''", "'''", "''${", "$${", "\\${x}", "\\", '"', "\\n", "\n", "\t", "\r",
    "\x1b", "\x7f", "\x01", "; rm -rf /", "$(id)", "`id`", "../../etc/passwd", "/nix/store/x", "<nixpkgs>",
    "http://x/y", "@var@", "%s%n", "{{x}}", "with builtins;", "rec {", "import <x>", "//", "/* */", "#", "é", "漢字",
    "🦀", "\u2028", "\ufeff", "\u202e", "a", " ", ".", "_", "0", "__toString", "_type", "outPath", "null", "true", "-",
)  # fmt: skip


@pytest.fixture
def evaluate(require: Any, tmp_path: Path) -> Any:
    require(binary="nix-instantiate")

    def run(options: dict[str, Any]) -> Any:
        rendered = Renderings()
        rendered.resources.add(kind="File", name="one", options_json=json.dumps(options))
        desired.write(tmp_path, desired.merge(rendered))
        done = subprocess.run(
            ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://", "-E",
             _EVALUATE.replace("FOLDER", str(tmp_path))],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def hostile(count: int, seed: int) -> Iterator[str]:
    source = random.Random(seed)
    for _ in range(count):
        text = "".join(source.choice(_PIECES) for _ in range(source.randint(1, 6)))
        if source.random() < 0.3:
            text += chr(source.choice((source.randrange(1, 0xD800), source.randrange(0xE000, 0x110000))))
        yield text


@pytest.mark.parametrize("seed", range(4))
def test_20_000_hostile_strings_come_back_equal(evaluate: Any, seed: int) -> None:
    """5,000 a seed, each as a name, a value and an element of a list."""
    values = list(hostile(5_000, seed))
    options = {
        "names": {f"{number} {text}": number for number, text in enumerate(values)},
        "values": {f"v{number}": text for number, text in enumerate(values)},
        "list": values,
    }

    assert evaluate({"o": options}) == {"o": options}


def test_what_cannot_come_back_equal_is_refused() -> None:
    for text in ("a\0b", "\ud800", "x\udfffy"):
        rendered = Renderings()
        rendered.resources.add(kind="File", name="one", options_json=json.dumps({"x": text}))
        with pytest.raises(InvalidRequest):
            desired.merge(rendered)


def test_numbers_lists_and_nothing_come_back(evaluate: Any) -> None:
    options = {"a": [1, -(2**63), 2**63 - 1, True, None, {}, [], {"b": [[]]}], "f": 1.5}

    assert evaluate(options) == options


def test_packages_are_looked_up_and_nothing_else_is(evaluate: Any) -> None:
    found = evaluate(
        {"p": [{"_package": "hello"}, {"_package": "python3Packages.requests"}], "s": "pkgs.hello"}
    )

    assert found == {"p": ["the package hello", "the package requests"], "s": "pkgs.hello"}


def test_a_package_that_is_not_there_is_named(evaluate: Any) -> None:
    with pytest.raises(AssertionError, match="there is no package"):
        evaluate({"p": [{"_package": "no.such.thing"}]})
