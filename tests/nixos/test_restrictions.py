"""The daemons run, and their kinds work, within what their units leave them: as much of it as there is without systemd.

Capabilities, no_new_privs, memory that is never both written and run, and a network namespace; not the filters of
system calls, the mount namespaces and the lists of devices.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.host, pytest.mark.timeout(90)]

HERE = Path(__file__).resolve().parent
NCC = Path(sys.executable).with_name("ncc")
# prctl(2): PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN; kernels before 6.3 don't have it.
_GUARDED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def units(require: Any) -> dict[str, Any]:
    require(binary="nix-instantiate")
    text = (
        f"(import {HERE / 'host.nix'} {{ lib = import {HERE / 'lib.nix'}; settings.enable = true; }}).units"
    )
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://", "-E", text],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def socket(require: Any, units: dict[str, Any], tmp_path: Path) -> Iterator[Path]:
    """All units' daemons, each within its limits; below a folder instead of the host's root."""
    require(binary="setpriv")
    require(root=True)
    socket, root = tmp_path / "run/n.sock", tmp_path / "root"
    root.mkdir()
    running = []
    try:
        for name, unit in units.items():
            folder = ["--state-dir", tmp_path / "state", "--socket", socket, "--root", root]
            limits = unit["serviceConfig"]
            with open(tmp_path / f"{name}.log", "wb") as log:
                running.append(
                    subprocess.Popen(
                        [*within(limits), NCC, "serve", name.removeprefix("nixcc-"), *folder],
                        stdout=log,
                        stderr=log,
                        umask=int(limits["UMask"], 8),
                    )
                )
        yield socket
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(30) for process in running]
    assert codes == [0] * len(units)
    for log in tmp_path.glob("*.log"):
        assert "Operation not permitted" not in log.read_text(), log.read_text()


def within(limits: dict[str, Any]) -> list[str]:
    """The start of a command that runs the rest of it within the limits."""
    kept = [f"+{name.removeprefix('CAP_').lower()}" for name in limits["CapabilityBoundingSet"].split()]
    network = ["unshare", "--net"] if limits.get("PrivateNetwork") else []
    guarded = [sys.executable, "-c", _GUARDED] if limits["MemoryDenyWriteExecute"] else []
    privileges = ["setpriv", f"--bounding-set={','.join(['-all', *kept])}", "--inh-caps=-all"]
    return [*network, *guarded, *privileges, *(["--no-new-privs"] if limits["NoNewPrivileges"] else [])]


def ncc(socket: Path, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [NCC, *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NCC_SOCKET": str(socket)},
    )


def test_all_services_answer_and_a_file_of_somebody_else_is_made(
    socket: Path, units: dict[str, Any], tmp_path: Path
) -> None:
    deadline = time.monotonic() + 30
    while True:
        told = ncc(socket, "doctor").stdout
        missing = [name for name in units if f"service {name.removeprefix('nixcc-')}: answers" not in told]
        if missing == ["nixcc-reconciler"]:
            break
        assert time.monotonic() < deadline, told
        time.sleep(0.1)

    manifest = """
kind: File
metadata: {name: one}
spec: {path: /srv/one, content: "x", mode: "4755", owner: "1234", group: "1234"}
"""
    done = ncc(socket, "apply", "-f", "-", "--wait", text=manifest)

    assert done.returncode == 0, done.stdout + done.stderr
    status = (tmp_path / "root/srv/one").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 1234, 0o4755)


def test_a_unit_without_the_capability_could_not(units: dict[str, Any], require: Any, tmp_path: Path) -> None:
    """The limits of this test do hold something."""
    require(binary="setpriv")
    require(root=True)
    shutil.copy("/bin/true", tmp_path / "one")
    change = ["chown", "1234", str(tmp_path / "one")]

    codes = {
        name: subprocess.run(
            [*within(units[name]["serviceConfig"]), *change], capture_output=True, check=False
        ).returncode
        for name in ("nixcc-system", "nixcc-packages")
    }

    assert codes["nixcc-system"] == 0
    assert codes["nixcc-packages"] != 0
