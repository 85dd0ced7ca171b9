"""Moving in from the predecessor."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

SAMPLES = Path(__file__).parents[2] / "support/predecessor"
SECRETS = (
    *("correct horse battery staple", "hunter2-hunter2", "wifi-passphrase-in-clear", "carols-first-password"),
    *("123456-pin", "s3cr3t-in-compose", "sw0rdfish-in-file", "pa55-in-url"),
)


@pytest.fixture
def nixos(ncc: Any, require: Any) -> Any:
    """Puts a sample at /NAME/nixos below the daemon's root; gives that path."""
    require(binary="nix")

    def put(sample: str) -> str:
        shutil.copytree(SAMPLES / sample, ncc.folder / "nixos")
        return f"/{ncc.name}/nixos"

    return put


@pytest.mark.host
@pytest.mark.parametrize("sample", ["v0", "v1", "v2"])
def test_the_predecessor_as_manifests(ncc: Any, nixos: Any, sample: str) -> None:
    path = nixos(sample)
    try:
        done = ncc.run("import", "nixoscontrolcenter", path)
        assert done.returncode == 0, done.stderr
        documents = list(yaml.safe_load_all(done.stdout))
        assert {"NixosOptions", "HostIdentity"} <= {one["kind"] for one in documents}
        assert f"version {sample[1]}: " in done.stderr
        report = ncc.json("import", "nixoscontrolcenter", path, "--report")
        assert report["version"] == sample[1]
        assert sum(report["counts"].values()) == len(report["keys"]) > 20
        assert report["counts"]["taken"] > report["counts"]["not supported"]
        table = ncc.out("import", "nixoscontrolcenter", path, "--report")
        assert all(row["key"] in table for row in report["keys"])
        assert not [secret for secret in SECRETS if secret in done.stdout + json.dumps(report) + table]
    finally:
        shutil.rmtree(ncc.folder)


@pytest.mark.host
def test_the_predecessor_into_a_folder(ncc: Any, nixos: Any, tmp_path: Path) -> None:
    path = nixos("v1")
    folder = tmp_path / "manifests"
    written = ncc.out("import", "nixoscontrolcenter", path, "-o", str(folder)).splitlines()
    assert sorted(written) == sorted(str(one) for one in folder.iterdir())
    assert yaml.safe_load((folder / "hostidentity.yaml").read_text())["spec"]["hostname"] == "atlas"
    report = json.loads((folder / "report.json").read_text())
    assert any("MYSQL_PASSWORD=********" in row.get("text", "") for row in report["keys"])
    again = ncc.run("import", "nixoscontrolcenter", path, "-o", str(folder))
    assert again.returncode == 6
    assert "is there already" in again.stderr


@pytest.mark.host
def test_the_identity_can_be_applied(ncc: Any, nixos: Any, tmp_path: Path) -> None:
    """What is written is taken by the daemon: the part whose kinds are surely there."""
    path = nixos("v0")
    text = ncc.out("import", "nixoscontrolcenter", path)
    known = {row.partition("/")[0] for row in ("HostIdentity/host",)}
    chosen = [one for one in yaml.safe_load_all(text) if one["kind"] in known]
    assert chosen
    file = tmp_path / "chosen.json"
    file.write_text("\n---\n".join(json.dumps(one) for one in chosen))
    done = ncc.run("apply", "--dry-run", "-f", str(file))
    assert done.returncode == 0, done.stderr


@pytest.mark.host
def test_errors_name_file_and_line(ncc: Any, require: Any) -> None:
    require(binary="nix")
    ncc.folder.mkdir()
    (ncc.folder / "system-config.nix").write_text("{\n  hostName = ;\n}\n")
    done = ncc.run("import", "nixoscontrolcenter", f"/{ncc.name}")
    assert done.returncode == 2
    assert "system-config.nix:2: syntax error" in done.stderr
    (ncc.folder / "system-config.nix").write_text("{ lib, ... }: { }\n")
    done = ncc.run("import", "nixoscontrolcenter", f"/{ncc.name}")
    assert done.returncode == 2
    assert "is a function, not an attribute set" in done.stderr


def test_wrong_ways_to_ask(ncc: Any) -> None:
    for arguments in (
        ("import", "nixoscontrolcenter"),
        ("import", "vm", "--report"),
        ("import", "vm", "-o", "table"),
        ("import", "nixoscontrolcenter", "/x", "--report", "-o", "name"),
    ):
        assert ncc.run(*arguments).returncode == 2
    assert ncc.run("import", "nixoscontrolcenter", "/no/such/folder").returncode == 5
