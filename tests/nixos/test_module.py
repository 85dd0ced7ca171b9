"""nixos/module.nix gives the units it says, and no unit may do more than its service needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.host

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SERVICES = ("system", "hardware", "vm", "packages", "updater", "homelab")
# The most that `systemd-analyze security` may give: 10 is all that root can do. Those that do nothing to the host
# themselves, and those that do.
REST, AGENT = 1.5, 4.0
MOST = {
    "nixcc-reconciler": REST,
    "nixcc-vm": REST,
    "nixcc-homelab": AGENT,
    "nixcc-packages": AGENT,
    "nixcc-updater": AGENT,
    "nixcc-system": AGENT,
    "nixcc-hardware": AGENT,
    "nixcc": AGENT,
}
Evaluate = Callable[..., Any]


@pytest.fixture(params=["stub", "nixpkgs"])
def evaluate(request: pytest.FixtureRequest, require: Any, tmp_path: Path) -> Evaluate:
    """`evaluate("{ enable = true; }")`: what the module sets for services.nixcc being so; with each lib there is."""
    require(binary="nix-instantiate")
    lib = HERE / "lib.nix"
    if request.param == "nixpkgs":
        if not (copy := os.environ.get("NIXPKGS_LIB")):
            pytest.skip("NIXPKGS_LIB names no copy of nixpkgs' lib (github:nix-community/nixpkgs.lib)")
        lib = Path(copy)
        lib = lib / "lib" if (lib / "lib/modules.nix").exists() else lib

    def run(settings: str) -> Any:
        return nix(tmp_path, f"import {HERE / 'host.nix'} {{ lib = import {lib}; settings = {settings}; }}")

    return run


def nix(home: Path, expression: str) -> Any:
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://", "-E", expression],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rendered(unit: dict[str, Any], program: str) -> str:
    """The unit as NixOS writes it: a list is a line for each. The program is one that is there."""

    def line(key: str, value: object) -> str:
        return f"{key}={str(value).lower() if isinstance(value, bool) else value}"

    lines = ["[Unit]", f"Description={unit['description']}", f"After={' '.join(unit['after'])}", "[Service]"]
    lines += [f'Environment="{key}={value}"' for key, value in sorted(unit["environment"].items())]
    for key, value in sorted(unit["serviceConfig"].items()):
        values = value if isinstance(value, list) else [value]
        lines += [
            line(key, re.sub(r"^\S+/bin/ncc", program, one) if key == "ExecStart" else one) for one in values
        ]
    return "\n".join([*lines, "[Install]", f"WantedBy={' '.join(unit['wantedBy'])}", ""])


def test_nothing_is_set_where_it_is_not_enabled(evaluate: Evaluate) -> None:
    found = evaluate("{ }")

    assert found["units"] == {}
    assert found["packages"] == []


def test_each_service_has_a_unit_of_its_own(evaluate: Evaluate) -> None:
    units = evaluate("{ enable = true; }")["units"]

    assert set(units) == {f"nixcc-{name}" for name in (*SERVICES, "reconciler")}
    for name, unit in units.items():
        served = name.removeprefix("nixcc-")
        assert unit["serviceConfig"]["ExecStart"].split("/bin/ncc ")[1].split()[:2] == ["serve", served]


def test_together_there_is_one_unit_for_all(evaluate: Evaluate) -> None:
    found = evaluate("{ enable = true; together = true; metricsPort = 9100; }")

    ((name, unit),) = found["units"].items()
    assert name == "nixcc"
    assert unit["serviceConfig"]["ExecStart"].endswith("--metrics-port 9100")
    assert "serve --state-dir" in unit["serviceConfig"]["ExecStart"]


def test_only_what_is_chosen_runs_beside_the_reconciler(evaluate: Evaluate) -> None:
    apart = evaluate('{ enable = true; services = [ "vm" ]; }')
    together = evaluate('{ enable = true; services = [ "vm" ]; together = true; }')

    assert set(apart["units"]) == {"nixcc-vm", "nixcc-reconciler"}
    assert "serve vm reconciler --state-dir" in together["units"]["nixcc"]["serviceConfig"]["ExecStart"]


def test_what_a_unit_may_write_is_made_before_it_starts(evaluate: Evaluate) -> None:
    """systemd does not start a unit where a path of ReadWritePaths is missing, unless a minus stands before it."""
    found = evaluate('{ enable = true; stateDir = "/srv/nixcc"; socket = "/run/cc/s.sock"; }')

    made = {rule.split()[1] for rule in found["rules"]} | {"/nix/var/nix/profiles", "/nix/var/nix/gcroots"}
    for unit in found["units"].values():
        for path in unit["serviceConfig"].get("ReadWritePaths", []):
            assert path.startswith("-") or path in made
    assert "d /srv/nixcc 0700 root root -" in found["rules"]
    assert found["variables"]["NCC_SOCKET"] == "/run/cc/s.sock"


def test_a_socket_path_that_is_too_long_is_refused(evaluate: Evaluate) -> None:
    found = evaluate(f'{{ enable = true; socket = "/run/{"x" * 110}"; }}')

    assert any("107 bytes" in message for message in found["failed"])


def test_a_service_that_does_not_exist_is_refused(evaluate: Evaluate) -> None:
    with pytest.raises(AssertionError, match="is not of type"):
        evaluate('{ enable = true; services = [ "toaster" ]; }')


def test_what_changes_the_kernel_runs_outside_of_the_unit(evaluate: Evaluate) -> None:
    """The unit has a mount namespace: its own mounts would never reach the host, and read-only ones would mislead."""
    found = evaluate("{ enable = true; }")

    hardware = found["units"]["nixcc-hardware"]["serviceConfig"]
    assert hardware["PrivateMounts"]
    assert not {
        "ProtectSystem",
        "ProtectHome",
        "PrivateTmp",
        "ProtectKernelModules",
        "ProtectKernelTunables",
    } & {key for key, value in hardware.items() if value}
    programs = {re.search(r"/bin/(\S+)", text)[1] for text in found["scripts"]["nixcc-hardware"]}  # type: ignore[index]
    assert programs == {"mount", "umount", "modprobe", "swapon", "swapoff", "smartctl"}
    assert all("systemd-run" in text and '"$@"' in text for text in found["scripts"]["nixcc-hardware"])


def test_the_store_is_changed_by_nix_daemon_alone(evaluate: Evaluate) -> None:
    for unit in evaluate("{ enable = true; }")["units"].values():
        assert unit["environment"]["NIX_REMOTE"] == "daemon"
        assert not any("/nix/store" in path for path in unit["serviceConfig"].get("ReadWritePaths", []))


def test_backups_can_be_made_and_restored(evaluate: Evaluate) -> None:
    unit = evaluate("{ enable = true; }")["units"]["nixcc-homelab"]
    limits = unit["serviceConfig"]
    assert any("restic" in str(program) for program in unit["path"])
    # Files of any owner are read, and get owner and mode back; a repository may lie anywhere, or on another host.
    assert {"CAP_DAC_READ_SEARCH", "CAP_CHOWN", "CAP_FOWNER"} <= set(limits["CapabilityBoundingSet"].split())
    assert "AF_INET" in limits["RestrictAddressFamilies"]
    assert not limits.get("PrivateNetwork")
    assert not limits.get("IPAddressDeny")
    assert not limits["ProtectSystem"]
    assert not limits["ProtectHome"]


@pytest.mark.parametrize("settings", ["", "together = true;", "metricsPort = 9100;"])
def test_no_unit_may_do_more_than_is_needed(
    evaluate: Evaluate, require: Any, tmp_path: Path, settings: str
) -> None:
    require(binary="systemd-analyze")
    for name, unit in evaluate(f"{{ enable = true; {settings} }}")["units"].items():
        file = tmp_path / f"{name}.service"
        file.write_text(rendered(unit, sys.executable))

        scored = analyze("security", "--offline=yes", str(file))
        score = float(re.findall(r"Overall exposure level for \S+ ([0-9.]+)", scored.stdout)[-1])

        assert score <= MOST[name], f"{name}: {score}\n{scored.stdout}"
        verified = analyze("verify", "--man=no", str(file))
        assert verified.returncode == 0, verified.stderr
        assert str(file) not in verified.stderr, verified.stderr


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"},
    )


def test_all_nix_files_are_nix(require: Any) -> None:
    require(binary="nix-instantiate")
    files = [
        ROOT / "flake.nix",
        *(path for top in ("nixos", "services", "tests/nixos") for path in (ROOT / top).rglob("*.nix")),
    ]
    assert len(files) >= 6

    done = subprocess.run(["nix-instantiate", "--parse", *files], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_package_has_what_the_project_depends_on() -> None:
    """nixpkgs' names of these differ from PyPI's by case only."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    text = (ROOT / "nixos/package.nix").read_text()
    listed = re.search(r"dependencies = with python3Packages; \[(.*?)\]", text, re.DOTALL)
    assert listed is not None

    names = {re.split(r"[<>=\[]", one)[0].lower() for one in wanted}

    assert set(listed[1].split()) == names | {"libvirt"}
