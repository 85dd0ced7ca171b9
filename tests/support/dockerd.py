"""A dockerd of the tests' own: its state in one folder, reached by one socket, gone afterwards with all it started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

_PATIENCE = 30.0
BUSYBOX = "busybox:1"


class Dockerd:
    """A running one, in a network namespace of its own. `address` is where it answers; ports that its containers
    publish are reached by what runs with `inside`."""

    def __init__(self, folder: Path, *options: str, data_size: str = "") -> None:
        self.folder = folder
        self._options = options
        if data_size:
            (folder / "data").mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={data_size}", "tmpfs", str(folder / "data")]
            subprocess.run(mount, check=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "docker.sock"
        self.address = f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Of dockerd itself."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text(errors="replace")

    def inside(self, *argv: str) -> list[str]:
        """The command, run in its network namespace."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *argv]

    def start(self) -> None:
        """Starts it and waits until it answers."""
        folder = self.folder
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"),
                    "dockerd",
                    f"--data-root={folder}/data",
                    f"--exec-root={folder}/exec",
                    f"--pidfile={folder}/pid",
                    f"--host={self.address}",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--bridge=none",
                    *self._options,
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "DOCKER_TMPDIR": str(folder / "tmp")},
            )
        deadline = time.monotonic() + _PATIENCE
        while self.docker("version", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"dockerd does not answer:\n{self.log[-2000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ends dockerd; SIGKILL leaves its containers and containerd running, as a crash does."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(timeout=_PATIENCE)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It stands still meanwhile, each of its threads."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + _PATIENCE
            # The signal is on its way for a moment, in which it may still answer.
            while not all(_stands_still(task) for task in Path(f"/proc/{self.pid}/task").iterdir()):
                assert time.monotonic() < deadline, "dockerd does not stop"
                time.sleep(0.002)
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def destroy(self) -> None:
        """Ends it with all its containers and removes its mounts."""
        if self._process is not None:
            if self._process.poll() is not None:
                self.start()
            running = self.docker("ps", "--quiet", check=False).stdout.split()
            if running:
                self.docker("kill", *running, check=False)
            self.stop()
        remove_mounts(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def docker(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the docker command against it."""
        result = subprocess.run(
            ["docker", "--host", self.address, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and result.returncode:
            raise AssertionError(f"docker {' '.join(arguments)}: {result.stderr}")
        return result

    def busybox(self, reference: str = BUSYBOX, command: Sequence[str] = ("sleep", "infinity")) -> str:
        """Makes an image of Debian's static busybox; its reference."""
        words = ",".join(f'"{word}"' for word in command)
        subprocess.run(
            ["docker", "--host", self.address, "import", "--change", f"CMD [{words}]", "-", reference],
            input=busybox_rootfs(),
            capture_output=True,
            timeout=120,
            check=True,
        )
        return reference


def _stands_still(task: Path) -> bool:
    return (task / "stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")


def remove_mounts(folder: Path) -> None:
    """Everything that is mounted below a folder."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        target = line.split()[1]
        if target.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)


def busybox_rootfs() -> bytes:
    """A root file system with busybox, as a tar archive."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("bin", "etc", "tmp", "proc", "sys", "dev", "run"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        archive.add("/bin/busybox", "bin/busybox")
        names = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout
        for name in names.split():
            if name == "busybox":
                continue
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        passwd = b"root:x:0:0:root:/:/bin/sh\nweb:x:1000:1000:web:/:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(passwd)
        archive.addfile(entry, BytesIO(passwd))
    return buffer.getvalue()


@contextmanager
def dockerd(*options: str, data_size: str = "") -> Iterator[Dockerd]:
    """One for a while; `data_size` bounds what it may keep. Its folder has a short name: a Unix socket's path has 107
    bytes at most."""
    daemon = Dockerd(Path(tempfile.mkdtemp(prefix="ncc-dk-")), *options, data_size=data_size)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.destroy()
