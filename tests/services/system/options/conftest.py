from __future__ import annotations

import json
from pathlib import Path

import pytest

import nixos_options
from services.system.drivers import option_index, option_sources
from services.system.drivers.option_index import OptionIndex

_PORT = "16 bit unsigned integer; between 0 and 65535 (both inclusive)"
# As in NixOS: (name, type, read-only).
SMALL = (
    (
        "networking.hostName",
        "string matching the pattern ^$|^[[:alnum:]]([[:alnum:]_-]{0,61}[[:alnum:]])?$",
        False,
    ),
    ("networking.firewall.enable", "boolean", False),
    ("networking.firewall.allowedTCPPorts", f"list of {_PORT}", False),
    ("users.users", "attribute set of (submodule)", False),
    ("users.users.<name>.isNormalUser", "boolean", False),
    ("users.users.<name>.shell", "null or package or (path)", False),
    ("users.users.<name>.extraGroups", "list of string", False),
    ("services.nginx.virtualHosts", "attribute set of (submodule)", False),
    ("services.nginx.virtualHosts.<name>.root", "null or path", False),
    ("services.nginx.virtualHosts.<name>.listen", "list of (submodule)", False),
    ("services.nginx.virtualHosts.<name>.listen.*.port", f"null or {_PORT}", False),
    (
        "services.openssh.settings",
        "open submodule of attribute set of (null or boolean or signed integer or string)",
        False,
    ),
    ("services.openssh.settings.PermitRootLogin", 'null or one of "yes", "no", "prohibit-password"', False),
    ("system.stateVersion", "string", False),
    ("system.build", "attribute set of unspecified value", False),
    ("system.nixos.version", "string", True),
    ("boot.kernelPackages", "raw value", False),
)


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    """A small options.json, as NixOS's manual has it."""
    path = tmp_path / "options.json"
    path.write_text(
        json.dumps(
            {
                name: {
                    "loc": name.split("."),
                    "type": type_,
                    "readOnly": read_only,
                    "declarations": [],
                    "description": f"About {name}.",
                }
                for name, type_, read_only in SMALL
            }
        )
    )
    return path


@pytest.fixture
def index(tmp_path: Path, manual: Path) -> OptionIndex:
    option_index.build(
        tmp_path / "small.index", option_sources.read(manual), {"source": str(manual), "origin": "file"}
    )
    return OptionIndex(tmp_path / "small.index")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> OptionIndex:
    """All options of NixOS."""
    if not nixos_options.LIST.exists():
        pytest.skip(nixos_options.MISSING)
    path = tmp_path_factory.mktemp("options") / "whole.index"
    option_index.build(
        path, option_sources.read(nixos_options.LIST), {"source": str(nixos_options.LIST), "origin": "file"}
    )
    return OptionIndex(path)
