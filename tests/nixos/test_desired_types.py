"""A path that somebody wrote stays a text, also where NixOS would import it as a module; with nixpkgs' own lib."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nixcc.resource.v1.resource_pb2 import Renderings
from services.system.generation import desired

pytestmark = pytest.mark.host

_HOST = """
let
  lib = import LIB;
  inherit (lib) mkOption types;
  one = types.submodule { options.a = mkOption { type = types.anything; default = "untouched"; };
                          options.inner = mkOption { type = types.nullOr one; default = null; }; };
  free = types.submodule { freeformType = types.attrsOf (types.either types.str one); };
  option = type: default: mkOption { inherit type default; };
  host = lib.evalModules {
    specialArgs.pkgs = { };
    modules = [
      (FOLDER + "/module.nix")
      { options = {
          environment.etc = option (types.attrsOf types.anything) { };
          each = option (types.attrsOf one) { };
          lazy = option (types.lazyAttrsOf one) { };
          list = option (types.listOf one) [ ];
          maybe = option (types.nullOr one) null;
          whole = option types.deferredModule { };
          deep.er = option (types.attrsOf (types.listOf (types.nullOr one))) { };
          # Each of these takes texts as texts.
          text = option (types.either types.str one) "";
          coerced = option (types.coercedTo types.str (text: { a = text; }) one) { };
          free = option free { };
          any = option types.anything null;
          path = option types.path "/";
      }; }
    ];
  };
in removeAttrs host.config [ "environment" "whole" ] // { whole = builtins.typeOf host.config.whole; }
"""


@pytest.fixture
def evaluate(require: Any, tmp_path: Path) -> Any:
    require(binary="nix-instantiate")
    if not (copy := os.environ.get("NIXPKGS_LIB")):
        pytest.skip("NIXPKGS_LIB names no copy of nixpkgs' lib (github:nix-community/nixpkgs.lib)")
    lib = Path(copy, "lib") if Path(copy, "lib/modules.nix").exists() else Path(copy)
    evil = tmp_path / "evil.nix"
    evil.write_text('{ a = "CODE RAN"; }')

    def run(options: str) -> tuple[Any, str]:
        """`@` stands for a file of Nix code that is there."""
        rendered = Renderings()
        rendered.resources.add(kind="NixosOptions", name="one", options_json=options.replace("@", str(evil)))
        desired.write(tmp_path / "flake", desired.merge(rendered))
        text = _HOST.replace("LIB", str(lib)).replace("FOLDER", str(tmp_path / "flake"))
        done = subprocess.run(
            ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://", "-E", text],
            capture_output=True,
            text=True,
            check=False,
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        )
        assert "CODE RAN" not in done.stdout
        return (json.loads(done.stdout) if done.returncode == 0 else None), done.stderr

    return run


@pytest.mark.parametrize(
    "options",
    [
        '{"each": {"x": "@"}}',
        '{"lazy": {"x": "@"}}',
        '{"list": [{}, "@"]}',
        '{"maybe": "@"}',
        '{"whole": "@"}',
        '{"deep": {"er": {"x": [null, "@"]}}}',
        '{"each": {"x": {"inner": "@"}}}',
        '{"each": {"x": {"inner": {"inner": "@"}}}}',
    ],
)
def test_a_path_is_not_imported_as_a_module(evaluate: Any, options: str) -> None:
    found, said = evaluate(options)

    assert found is None
    assert "would take it for a file of Nix code" in said, said


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ('{"text": "@"}', "text"),
        ('{"any": {"x": ["@"]}}', "any"),
        ('{"path": "@"}', "path"),
        ('{"free": {"x": "@"}}', "free"),
    ],
)
def test_a_path_is_a_text_where_texts_are_wanted(evaluate: Any, options: str, part: str) -> None:
    found, said = evaluate(options)

    assert found is not None, said
    assert "evil.nix" in json.dumps(found[part])


def test_sets_reach_their_submodules(evaluate: Any) -> None:
    found, said = evaluate(
        '{"each": {"x": {"a": "@", "inner": {"a": 1}}}, "coerced": "@", "list": [{"a": 2}]}'
    )

    assert found is not None, said
    assert found["each"]["x"]["inner"] == {"a": 1, "inner": None}
    assert found["each"]["x"]["a"].endswith("evil.nix")
    assert found["coerced"]["a"].endswith("evil.nix")
    assert found["list"] == [{"a": 2, "inner": None}]
