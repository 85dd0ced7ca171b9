"""A real guest for the tests: Debian's cloud kernel and an initial file system of nothing but busybox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

_CACHE = Path(__file__).resolve().parents[2] / "build/guest"
# Says that it is up, then echoes lines, and powers off on `poweroff`.
_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
exec </dev/ttyS0 >/dev/ttyS0 2>&1
echo "guest is up with $(/bin/busybox nproc) cpus"
while read -r line; do
    case "$line" in
        poweroff*) /bin/busybox poweroff -f ;;
        *) echo "guest heard: $line" ;;
    esac
done
"""


def missing() -> str:
    """What this machine lacks for it; empty: nothing."""
    tools = ("apt-get", "dpkg-deb", "cpio", "busybox")
    gone = [name for name in tools if shutil.which(name) is None]
    return f"{', '.join(gone)} not installed" if gone else ""


def kernel() -> Path:
    """The kernel's file, downloaded once. Raises RuntimeError where it can't be had."""
    found = sorted(_CACHE.glob("vmlinuz-*"))
    if found:
        return found[-1]
    work = _CACHE / f"download-{os.getpid()}"
    work.mkdir(parents=True, exist_ok=True)
    try:
        depends = _run(["apt-cache", "depends", "linux-image-cloud-amd64"], work)
        match = re.search(r"Depends: (linux-image-\S+-cloud-amd64)\b", depends)
        if match is None:
            _run(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update"], work)
            match = re.search(
                r"Depends: (linux-image-\S+-cloud-amd64)\b",
                _run(["apt-cache", "depends", "linux-image-cloud-amd64"], work),
            )
        if match is None:
            raise RuntimeError("apt knows no linux-image-cloud-amd64")
        _run(["apt-get", "-qq", "download", match.group(1)], work)
        package = next(work.glob("*.deb"))
        _run(["dpkg-deb", "-x", package.name, "tree"], work)
        image = next((work / "tree/boot").glob("vmlinuz-*"))
        os.replace(image, _CACHE / image.name)
        return _CACHE / image.name
    finally:
        shutil.rmtree(work, ignore_errors=True)


def initrd(folder: Path) -> Path:
    """An initial file system, made in `folder`."""
    tree = folder / "initrd"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in [tree / "bin", *tree.rglob("*")])
    made = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        input=names.encode(),
        cwd=tree,
        capture_output=True,
        check=True,
    )
    image = folder / "initrd.img"
    image.write_bytes(made.stdout)
    return image


def _run(argv: list[str], folder: Path) -> str:
    made = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if made.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {made.stderr[-500:]}")
    return made.stdout
