"""A podman of the tests' own behind its Docker-compatible socket; its state in one folder, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dockerd import remove_mounts

_PATIENCE = 20.0
# runc, since crun refuses the hybrid cgroups of many machines; limits that need no privilege to set.
_CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


@contextmanager
def podmand() -> Iterator[str]:
    """One for a while, in a network namespace of its own; where it answers."""
    folder = Path(tempfile.mkdtemp(prefix="ncc-pm-"))
    (folder / "containers.conf").write_text(_CONFIG)
    socket = folder / "podman.sock"
    command = [
        *("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
        *("podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp"),
        *("--network-config-dir", f"{folder}/networks", "--cgroup-manager", "cgroupfs"),
        *("--runtime", shutil.which("runc") or "runc", "--events-backend", "file"),
        *("system", "service", "--time=0", f"unix://{socket}"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")},
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not socket.exists():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "podman does not answer"
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait()
        # Who watches a program in a container stays for five minutes, for somebody to ask for its exit code.
        for pid in _mentioning(str(folder)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        remove_mounts(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _mentioning(text: str) -> list[int]:
    """Processes whose arguments hold a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found
