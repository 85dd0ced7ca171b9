"""Moving in from the predecessor."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import daemons
from nixcc.resource.v1.resource_pb2 import Renderings
from package_flake import PackageFlake, store_environment
from services.packages.rendering import system_packages
from services.system.drivers.linux_files import LinuxFileDriver
from services.system.drivers.linux_systemd import LinuxSystemdDriver
from services.system.generation import desired
from services.system.models import UnitWish
from updater_flakes import Source, write_flake

SAMPLES = Path(__file__).parents[2] / "support/predecessor"
FAKE = Path(__file__).parents[2] / "services/system/drivers/fake_systemd.py"
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={socket}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""
# Events of a loop that has done something to the host.
ACTED = ("Created", "Updated", "Replaced", "Healed", "Deleted", "ApplyFailed")
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
SECRETS = (
    *("correct horse battery staple", "hunter2-hunter2", "wifi-passphrase-in-clear", "carols-first-password"),
    *("123456-pin", "s3cr3t-in-compose", "sw0rdfish-in-file", "pa55-in-url"),
)


@pytest.fixture
def nixos(ncc: Any, require: Any) -> Iterator[Any]:
    """Puts a sample at /NAME/nixos below the daemon's root; gives that path."""
    require(binary="nix")

    def put(sample: str) -> str:
        shutil.copytree(SAMPLES / sample, ncc.folder / "nixos")
        return f"/{ncc.name}/nixos"

    yield put
    shutil.rmtree(ncc.folder)


@pytest.mark.host
@pytest.mark.parametrize("sample", ["v0", "v1", "v2"])
def test_the_predecessor_as_manifests(ncc: Any, nixos: Any, sample: str) -> None:
    path = nixos(sample)
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
@pytest.mark.parametrize("sample", ["v0", "v1", "v2"])
def test_the_daemon_takes_what_is_written(ncc: Any, nixos: Any, sample: str, tmp_path: Path) -> None:
    """All of it, as far as the services that run here have its kinds."""
    documents = list(yaml.safe_load_all(ncc.out("import", "nixoscontrolcenter", nixos(sample))))
    known = {kind for kind in {one["kind"] for one in documents} if ncc.run("get", kind).returncode == 0}
    assert {"HostIdentity", "PackageSet"} <= known
    manifest = tmp_path / "known.yaml"
    manifest.write_text("\n---\n".join(json.dumps(one) for one in documents if one["kind"] in known))
    done = ncc.run("apply", "--dry-run", "-f", str(manifest))
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


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """A daemon of the test's own, with an identity below its root, and libvirt's test driver with its machine."""
    etc = tmp_path / "root/etc"
    etc.mkdir(parents=True)
    (etc / "hostname").write_text("adopted\n")
    (etc / "locale.conf").write_text("LANG=de_DE.UTF-8\n")
    with daemons.daemon(tmp_path, services=("system", "hardware", "vm")) as started:
        yield started


def adopted(started: daemons.Ncc, *arguments: str) -> dict[str, set[str]]:
    """Imports everything, and shows that applying it changes nothing; gives names by kind."""
    text = started.out("import", "host", *arguments)
    documents = list(yaml.safe_load_all(text))
    manifest = started.folder / "host.yaml"
    manifest.write_text(text)
    plan = started.run("diff", "--host-only", "-f", str(manifest))
    assert (plan.returncode, plan.stderr) == (0, ""), plan.stdout
    started.out("apply", "-f", str(manifest), "--wait", "--timeout", "60s")
    again = started.run("diff", "-f", str(manifest))
    assert again.returncode == 0, again.stdout
    for _ in range(2):
        done = started.json("reconcile", "--wait")
        assert (done["resources"], done["changed"], done["failed"]) == (len(documents), 0, 0)
    assert not [event for event in started.json("events")["items"] if event["reason"] in ACTED]
    left = started.out("import", "host", "-o", "name").split()
    assert left == []
    found: dict[str, set[str]] = {}
    for document in documents:
        found.setdefault(document["kind"], set()).add(document["metadata"]["name"])
    return found


@pytest.mark.host
def test_adopting_changes_nothing(own: daemons.Daemon, require: Any) -> None:
    require(module="libvirt")
    found = adopted(own)
    assert found["HostIdentity"] == {"host"}
    assert found["VirtualMachine"] == {"test"}
    assert {"VirtualNetwork", "StoragePool"} <= set(found)
    assert (own.root / "etc/hostname").read_text() == "adopted\n"


@pytest.mark.host
def test_adopting_what_was_declared_before_changes_nothing(own: daemons.Daemon) -> None:
    """Kept by the services, forgotten by the store: as after a restore of an older one."""
    backup = {"recipients": [RECIPIENT], "keep": {"daily": 2}}
    own.apply({"kind": "StateBackup", "metadata": {"name": "nightly"}, "spec": backup})
    own.out("import", "StateBackup")
    assert own.stop() == 0
    for path in own.folder.glob("state/state.db*"):
        path.unlink()
    with daemons.daemon(own.folder, services=("system", "hardware", "vm")) as again:
        assert adopted(again)["StateBackup"] == {"nightly"}


@contextmanager
def this_host(folder: Path, address: str) -> Iterator[daemons.Daemon]:
    """A daemon that means the machine itself; `address` is the bus that its systemd is on."""
    started = daemons.Daemon(folder, {"NCC_SYSTEM_BUS": address})
    state = ("--state-dir", str(folder / "state"), "--socket", str(started.socket))
    with (folder / "log").open("wb") as log:
        command = [daemons.NCC, "serve", "system", "hardware", "reconciler", *state]
        started.process = subprocess.Popen(command, env=started.env(), stdout=log, stderr=log)
    try:
        daemons.answering(started, ("system", "hardware"))
        yield started
    finally:
        started.stop()


@contextmanager
def systemd(folder: Path) -> Iterator[str]:
    """A private bus with a stand-in for systemd, where somebody enabled a timer; gives its address."""
    (folder / "bus.conf").write_text(BUS.format(socket=folder / "bus"))
    argv = [
        "dbus-daemon",
        f"--config-file={folder / 'bus.conf'}",
        "--print-address",
        "--nofork",
        "--nopidfile",
    ]
    units = folder / "etc/systemd/system"
    units.mkdir(parents=True)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as bus:
        assert bus.stdout is not None
        address = bus.stdout.readline().strip()
        with subprocess.Popen(
            [sys.executable, FAKE, address, units], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as fake:
            assert fake.stdout is not None
            assert fake.stdout.readline() == "ready\n"
            driver = LinuxSystemdDriver(LinuxFileDriver(folder), address=address)
            try:
                driver.write("tick.timer", UnitWish(enabled=True), lambda _: None)
                driver.write("web.service", UnitWish(enabled=True, active=True), lambda _: None)
                yield address
            finally:
                driver.close()
                fake.kill()
                bus.kill()


@pytest.mark.host
def test_adopting_packages_and_flake_inputs_changes_nothing(require: Any, tmp_path: Path) -> None:
    """What is in the profile and in /etc/nixos/flake.lock, when the store knows of none of it."""
    require(binary="nix")
    require(binary="git")
    (tmp_path / "packages").mkdir()
    packages = PackageFlake(tmp_path / "packages")
    packages.publish()
    source = Source(tmp_path / "source")
    configuration = tmp_path / "root/etc/nixos"
    write_flake(configuration, {"one": source.url, "two": "follows:one"})
    environment = {
        **store_environment(tmp_path),
        "NCC_PACKAGES_FLAKE": packages.url,
        "NCC_UPDATER_FLAKE": str(configuration),
    }
    subprocess.run(
        ["nix", "flake", "lock", str(configuration)],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    services = ("system", "packages", "updater")
    with daemons.daemon(tmp_path, env=environment, services=services) as started:
        hello = {"kind": "Package", "metadata": {"name": "hello"}, "spec": {"attribute": "hello"}}
        older = {**hello, "metadata": {"name": "greetings"}, "spec": {"attribute": "libgreet", "pin": True}}
        started.apply(hello, older)
        assert started.stop() == 0
    for path in tmp_path.glob("state/state.db*"):
        path.unlink()
    lock = (configuration / "flake.lock").read_text()
    profile = os.path.realpath(tmp_path / "root/nix/var/nix/profiles/nixcc/profile")
    with daemons.daemon(tmp_path, env=environment, services=services) as again:
        found = adopted(again)
        assert found["Package"] == {"hello", "greetings"}
        assert len(found["FlakeInput"]) == 2
    assert (configuration / "flake.lock").read_text() == lock
    assert os.path.realpath(tmp_path / "root/nix/var/nix/profiles/nixcc/profile") == profile


@pytest.mark.host
def test_adopting_what_the_active_generation_contains_changes_nothing(require: Any, tmp_path: Path) -> None:
    """On NixOS: package sets, packages and binary caches that its desired.json and nix.conf tell of."""
    require(binary="nix")
    root = tmp_path / "root"
    system = root / "run/current-system"
    for folder in (root / "etc", system / "etc/nixcc", system / "etc/nix"):
        folder.mkdir(parents=True)
    (root / "etc/NIXOS").touch()
    (root / "etc/hostname").write_text("adopted\n")
    renderings = Renderings()
    for kind, name, attributes in (("PackageSet", "tools", ["jq", "curl"]), ("Package", "hello", ["hello"])):
        text = json.dumps(system_packages(attributes))
        renderings.resources.add(kind=kind, name=name, options_json=text)
    (system / "etc/nixcc/desired.json").write_text(desired.merge(renderings).text)
    with daemons.daemon(
        tmp_path, env=store_environment(tmp_path), services=("system", "packages", "updater")
    ) as started:
        found = adopted(started)
        assert found["PackageSet"] == {"tools"}
        assert found["Package"] == {"hello"}


@pytest.mark.host
def test_adopting_this_very_host_changes_nothing(require: Any, tmp_path: Path) -> None:
    """Mounts, modules, swap, identity and units of the machine itself, which is only looked at."""
    require(root=True, binary="dbus-daemon")
    with systemd(tmp_path) as address, this_host(tmp_path, address) as started:
        documents = list(yaml.safe_load_all(started.out("import", "host")))
        kinds = {document["kind"] for document in documents}
        assert {"HostIdentity", "SystemdUnit"} <= kinds
        units = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "SystemdUnit"}
        assert units["web.service"].items() >= {"enabled": True, "active": True}.items()
        assert "active" not in units["tick.timer"]  # it rests, and others may start it
        manifest = tmp_path / "host.yaml"
        for document in documents:
            document["policy"] = {"drift": "OBSERVE"}
        manifest.write_text("\n---\n".join(map(json.dumps, documents)))
        plan = started.run("diff", "--host-only", "-f", str(manifest))
        assert plan.returncode == 0, plan.stdout
        started.out("apply", "-f", str(manifest), "--wait", "--timeout", "60s")
        done = started.json("reconcile", "--wait")
        assert (done["resources"], done["changed"], done["failed"]) == (len(documents), 0, 0)
        for kind in sorted(kinds):
            for item in started.json("get", kind)["items"]:
                conditions = {row["type"]: row for row in item["status"]["conditions"]}
                assert conditions["InSync"]["status"] == "True", (kind, item["metadata"], conditions)


def test_names_that_no_resource_can_have(ncc: Any) -> None:
    assert ncc.run("import", "vm", "no such machine").returncode == 5
