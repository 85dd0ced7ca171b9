"""A libvirtd of the tests' own: in namespaces of mounts and networks, its state in one folder, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What libvirtd keeps outside its sockets; each is a folder of ours in its namespace.
_FOLDERS = ("/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/run/libvirt")
_PATIENCE = 30.0

_SCRIPT = """
set -e
for folder in {folders}; do
    mkdir -p "$1$folder" "$folder"
    mount --bind "$1$folder" "$folder"
done
ip link set lo up
exec libvirtd --config "$1/libvirtd.conf" --pid-file "$1/pid"
"""
_CONFIG = """
unix_sock_dir = "{folder}"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:file:{folder}/log"
"""
# QEMU as root, its output straight into files: no other daemon is needed.
_QEMU = """
user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
namespaces = []
"""


class Libvirtd:
    """A running one. `qemu` and `test` are the URIs it answers to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        socket = f"socket={folder}/libvirt-sock"
        self.qemu = f"qemu+unix:///system?{socket}"
        self.test = f"test+unix:///default?{socket}"
        (folder / "libvirtd.conf").write_text(_CONFIG.format(folder=folder))
        qemu = folder / "etc/libvirt"
        qemu.mkdir(parents=True)
        (qemu / "qemu.conf").write_text(_QEMU)

    @property
    def pid(self) -> int:
        """Of libvirtd itself."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it answers."""
        script = _SCRIPT.format(folders=" ".join(_FOLDERS))
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", script, "sh", str(self.folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("ab"),
            start_new_session=True,
        )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"libvirtd does not start: {(self.folder / 'stderr').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends it; machines go on running, as with any libvirtd."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """Ends it at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def end_children(self) -> None:
        """Ends what it started and left: machines and name servers."""
        for file in (self.folder / "run/libvirt").rglob("*.pid"):
            try:
                pid = int(file.read_text().strip() or 0)
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if pid and (b"qemu" in command or b"dnsmasq" in command) and b"libvirt" in command:
                    os.kill(pid, signal.SIGKILL)
            except (OSError, ValueError):
                continue

    def _answers(self) -> bool:
        import libvirt

        if not (self.folder / "libvirt-sock").exists():
            return False
        try:
            libvirt.open(self.qemu).close()
        except libvirt.libvirtError:
            return False
        return True


@contextmanager
def private_libvirtd(folder: Path) -> Iterator[Libvirtd]:
    """One in an existing folder of a short path (its socket lies there)."""
    daemon = Libvirtd(folder)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
        daemon.end_children()


def missing() -> str:
    """What this machine lacks for it; empty: nothing."""
    if os.geteuid() != 0:
        return "libvirtd with QEMU needs root"
    needed = ("libvirtd", "unshare", "ip", "qemu-system-x86_64", "qemu-img", "dnsmasq")
    gone = [name for name in needed if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    return f"{', '.join(gone)} not installed" if gone else ""
