"""The peers on the same job: so many small files as declared already, and one of them changed.

They are installed from PyPI into build/peers, at their newest versions; the first run takes two minutes for that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon import row, running
from loop_bench import content, manifest, place

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = ROOT / "build/peers"
SIZES = (20, 100, 1_000)
# Ansible and pyinfra need seconds for each hundred files.
LARGEST = {"ansible-playbook": 20, "pyinfra": 100, "salt-call": 1_000}
PACKAGES = ("ansible-core", "pyinfra", "salt")


def run() -> list[dict[str, Any]]:
    """Rows of the table: ours and each peer's."""
    install()
    rows: list[dict[str, Any]] = []
    for count in SIZES:
        rows += ours(count)
        for peer, make in MAKERS.items():
            if count <= LARGEST[peer]:
                rows += theirs(peer, make, count)
    return rows


def install() -> None:
    """Makes build/peers where it is missing."""
    if not (PEERS / "bin/salt-call").exists():
        venv.create(PEERS, with_pip=True, clear=True)
        subprocess.run([str(PEERS / "bin/python"), "-m", "pip", "-q", "install", *PACKAGES], check=True)


def ours(count: int) -> list[dict[str, Any]]:
    """The whole `ncc reconcile` process, the daemon running."""
    with running("system", "reconciler", services=("system",)) as daemon:
        daemon.ncc("apply", "-f", str(manifest(daemon.folder, count)), "--wait", "--timeout", "120s")
        clean = median_of(lambda: expect(daemon.ncc("reconcile", "File", "--wait", "-o", "json"), 0), 5)
        # Suspended, the loop leaves the drift for the pass that is measured.
        daemon.ncc("suspend", "File", "f3")
        Path(f"{daemon.root}{place(3)}").write_text("hacked\n")
        start = time.perf_counter()
        daemon.ncc("resume", "File", "f3")
        daemon.ncc("reconcile", "File", "f3", "--wait", fine=(0,))
        heal = time.perf_counter() - start
        if Path(f"{daemon.root}{place(3)}").read_text() != content(3):
            raise RuntimeError("not healed")
    return [
        row(f"{count:,} files as declared: one run", clean, "s"),
        row(f"{count:,} files, one drifted: resume and one run", heal, "s"),
    ]


def expect(output: str, changed: int) -> None:
    """Fails where the pass changed something else than expected."""
    result = json.loads(output)
    if (result["changed"], result["failed"]) != (changed, 0):
        raise RuntimeError(f"unexpected: {result}")


def theirs(peer: str, make: Callable[[Path, int], list[str]], count: int) -> list[dict[str, Any]]:
    """A peer's whole process, on files that are as declared and with one changed."""
    folder = Path(tempfile.mkdtemp(prefix=f"nixcc-{peer}-"))
    try:
        (folder / "out").mkdir()
        command = make(folder, count)
        environment = {**os.environ, "PATH": f"{PEERS / 'bin'}:{os.environ['PATH']}", "HOME": str(folder)}

        def once() -> None:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
            )
            if done.returncode:
                raise RuntimeError(f"{peer}: {done.stdout[-1500:]}{done.stderr[-1500:]}")

        once()
        for number in range(count):
            if target(folder, number).read_text() != content(number):
                raise RuntimeError(f"{peer} did not write {target(folder, number)}")
        clean = median_of(once, 3)
        target(folder, 3).write_text("hacked\n")
        start = time.perf_counter()
        once()
        heal = time.perf_counter() - start
        if target(folder, 3).read_text() != content(3):
            raise RuntimeError(f"{peer} did not heal")
        return [
            row(f"{count:,} files as declared: one run", clean, "s", peer),
            row(f"{count:,} files, one drifted: one run", heal, "s", peer),
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def target(folder: Path, number: int) -> Path:
    """Where a peer puts the file."""
    return folder / "out" / f"f{number}.conf"


def _salt(folder: Path, count: int) -> list[str]:
    states = {
        str(target(folder, n)): {"file.managed": [{"contents": content(n)}, {"mode": "0644"}]}
        for n in range(count)
    }
    (folder / "srv").mkdir()
    (folder / "srv/site.sls").write_text(json.dumps(states))
    (folder / "etc").mkdir()
    minion = {"file_client": "local", "file_roots": {"base": [str(folder / "srv")]}, "id": "bench"}
    minion |= {f"{name}_dir": str(folder / name) for name in ("pki", "sock")}
    minion |= {"cachedir": str(folder / "cache"), "log_file": str(folder / "log")}
    (folder / "etc/minion").write_text(json.dumps(minion))
    command = [
        "--local",
        "-c",
        str(folder / "etc"),
        "--out=quiet",
        "--retcode-passthrough",
        "state.apply",
        "site",
    ]
    return [str(PEERS / "bin/salt-call"), *command]


def _pyinfra(folder: Path, count: int) -> list[str]:
    lines = ["from io import StringIO", "from pyinfra.operations import files"]
    for n in range(count):
        lines.append(f"files.put(src=StringIO({content(n)!r}), dest={str(target(folder, n))!r}, mode='644')")
    (folder / "deploy.py").write_text("\n".join(lines) + "\n")
    return [str(PEERS / "bin/pyinfra"), "-y", "@local", "deploy.py"]


def _ansible(folder: Path, count: int) -> list[str]:
    tasks = [
        {"ansible.builtin.copy": {"dest": str(target(folder, n)), "content": content(n), "mode": "0644"}}
        for n in range(count)
    ]
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    (folder / "play.json").write_text(json.dumps(play))
    python = f"ansible_python_interpreter={sys.executable}"
    return [str(PEERS / "bin/ansible-playbook"), "-c", "local", "-i", "localhost,", "-e", python, "play.json"]


MAKERS = {"salt-call": _salt, "pyinfra": _pyinfra, "ansible-playbook": _ansible}


def median_of(action: Callable[[], object], runs: int) -> float:
    """Seconds, the middle of so many runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return sorted(times)[runs // 2]
