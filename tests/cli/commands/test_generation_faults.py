"""What goes wrong before a switch, with real Nix: a clear error, and the host as it was."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, daemon, until
from script_systems import ScriptHost

pytestmark = pytest.mark.host

_FLAKE = """{
  outputs = { self }: let
    host = toplevel: { config.system.build = { inherit toplevel; }; };
    make = name: script: more: host (derivation ({
      name = "nixos-system-${name}"; system = "@system@"; builder = "/bin/sh"; PATH = "/usr/bin:/bin";
      args = [ "-c" script ];
    } // more));
  in {
    nixosConfigurations = {
      broken = make "broken" "echo compiling; echo no such header >&2; exit 3" { };
      hash = make "hash" "echo x > $out" {
        outputHashMode = "flat"; outputHashAlgo = "sha256";
        outputHash = "0000000000000000000000000000000000000000000000000000";
      };
      type = host (1 + "a");
      missing = host self.none;
      absent = host (import ./absent.nix);
      fetched = host (import (builtins.fetchGit { url = "http://127.0.0.1:1/x.git"; rev = "@rev@"; }));
      hung = make "hung" "sleep 100 & echo $! > @folder@/builder; wait" { };
      other = make "other" "mkdir $out; echo 1 > $out/readme" { };
      fine = make "fine" "mkdir $out" { };
    };
  };
}
"""


@pytest.fixture
def host(tmp_path: Path, require: Any) -> ScriptHost:
    require(binary="nix")
    made = ScriptHost(tmp_path)
    made.install(made.system("a"))
    flake = tmp_path / "flake"
    flake.mkdir()
    text = _FLAKE.replace("@folder@", str(tmp_path)).replace("@rev@", "1" * 40)
    (flake / "flake.nix").write_text(text.replace("@system@", f"{os.uname().machine}-linux"))
    return made


@pytest.fixture
def ncc(host: ScriptHost) -> Iterator[Daemon]:
    with daemon(host.folder, env=host.environment) as started:
        yield started


def untouched(host: ScriptHost) -> bool:
    """The first system runs, is the default, and nobody asked another one for anything."""
    found = {host.running, host.boot_default, host.driver.default()}
    return len(found) == 1 and found.pop().endswith("-a") and host.actions == []


def flake(host: ScriptHost, name: str) -> str:
    return f"path:{host.folder}/flake#{name}"


def test_each_fault_of_a_configuration_is_told_by_its_cause(host: ScriptHost, ncc: Daemon) -> None:
    faults = {
        "broken": (1, "nixos-system-broken could not be built: exit code 3"),
        "hash": (1, "what was fetched is not what was declared: sha256-"),
        "type": (2, r"evaluation failed: cannot .* \(at flake\.nix:15\)"),
        "missing": (5, r"attribute 'none' missing \(at flake\.nix:16\)"),
        "absent": (2, r"the flake has no file absent\.nix"),
        "fetched": (7, "the network does not answer: unable to access 'http://127.0.0.1:1/x.git/'"),
        "nowhere": (5, "does not provide attribute"),
        "other": (1, "is no NixOS system"),
    }

    for name, (code, said) in faults.items():
        done = ncc.run("generation", "switch", flake(host, name))

        assert done.returncode == code, f"{name}: {done.returncode}: {done.stderr}"
        assert re.search(said, done.stderr), f"{name}: {done.stderr}"
        assert "while evaluating" not in done.stderr, "the trace is not told"
        assert untouched(host), name
    assert "no such header" in ncc.run("generation", "build", flake(host, "broken")).stderr


def test_a_flake_that_is_not_there(host: ScriptHost, ncc: Daemon) -> None:
    done = ncc.run("generation", "switch", f"path:{host.folder}/none#web")

    assert done.returncode == 5, done.stderr
    assert untouched(host)


def test_a_lock_file_from_the_future_stays_as_it_is(host: ScriptHost, ncc: Daemon) -> None:
    lock = host.folder / "flake/flake.lock"
    lock.write_text('{"nodes":{"root":{}},"root":"root","version":8}')

    done = ncc.run("generation", "switch", flake(host, "fine"))

    assert done.returncode == 1, done.stderr
    assert "flake.lock has version 8" in done.stderr
    assert lock.read_text() == '{"nodes":{"root":{}},"root":"root","version":8}'
    assert untouched(host)


@pytest.mark.parametrize("how", ["cancelled", "daemon stopped"])
def test_a_build_that_hangs_leaves_no_process(host: ScriptHost, ncc: Daemon, how: str) -> None:
    name = ncc.out("generation", "switch", flake(host, "hung"), "--detach").strip()
    builder = host.folder / "builder"
    until(lambda: builder.exists() and builder.read_text().strip(), 30)
    pid = int(builder.read_text())
    assert _runs(pid)

    if how == "cancelled":
        ncc.out("operation", "cancel", name)
    else:
        ncc.stop()

    until(lambda: not _runs(pid), 20)
    assert untouched(host)
    if how == "cancelled":
        assert ncc.run("generation", "switch", flake(host, "other")).returncode == 1, "others are served"


def test_a_server_that_never_answers_can_be_given_up(host: ScriptHost, ncc: Daemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"git+http://127.0.0.1:{server.getsockname()[1]}/silent.git"
        name = ncc.out("generation", "switch", f"{url}#web", "--detach").strip()
        server.settimeout(30)
        caller, _ = server.accept()
        with caller:
            assert caller.recv(1024).startswith(b"GET /silent.git")

            ncc.out("operation", "cancel", name)

            caller.settimeout(20)
            assert caller.recv(1024) == b"", "whoever called has gone"
    assert untouched(host)


def test_a_full_store(host: ScriptHost, ncc: Daemon, small_disk: Any) -> None:
    """Each evaluation copies the flake to the store: where there is no room, it ends before anything is built."""
    small_disk(Path(host.environment["NIX_STORE_DIR"]), "1m")
    (host.folder / "flake/ballast").write_bytes(os.urandom(2_000_000))

    done = ncc.run("generation", "switch", flake(host, "fine"))

    assert done.returncode == 7, done.stderr
    assert "no room" in done.stderr
    assert "ncc package gc" in done.stderr


def test_a_full_boot_partition(host: ScriptHost, ncc: Daemon, small_disk: Any) -> None:
    new = host.system("b", initrd="x" * 3_000_000)
    small_disk(host.root / "boot", "2m")
    (host.root / "boot/default").symlink_to(host.running)

    done = ncc.run("generation", "switch", new)

    assert done.returncode == 1, done.stderr
    assert "/boot" in done.stderr
    assert untouched(host)


@pytest.fixture
def small_disk(require: Any) -> Iterator[Any]:
    """Puts a small file system over a folder."""
    require(root=True)
    mounted = []

    def mount(path: Path, size: str) -> None:
        argv = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        done = subprocess.run(argv, capture_output=True, text=True)
        require(when=done.returncode == 0, reason=f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
