"""A file system whose server never answers costs its usage and nothing else: a real one, in a namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Mounts FUSE and never answers, so that every question to it hangs; then scans.
SCRIPT = """
import ctypes, json, os, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
def check(result):
    if result: sys.exit(f"not here: {os.strerror(ctypes.get_errno())}")
check(libc.unshare(CLONE_NEWNS))
check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
check(libc.mount(b"silent", sys.argv[1].encode(), b"fuse.silent", 0, options))
from services.hardware.drivers.linux import LinuxHardwareDriver
from services.hardware.models.inventory import QUICK_PARTS
driver = LinuxHardwareDriver()
began = time.perf_counter()
found = driver.scan(QUICK_PARTS)
took = time.perf_counter() - began
driver.scan(QUICK_PARTS)
threads = sum(thread.name == f"statvfs {sys.argv[1]}" for thread in threading.enumerate())
silent = next(f for f in found.file_systems if f.mount_point == sys.argv[1])
print(json.dumps({
    "took": took, "threads": threads, "size": silent.size, "absences": {a.fact: a.reason for a in found.absences},
    "root": next(f.size for f in found.file_systems if f.mount_point == "/"),
}), flush=True)
os._exit(0)
"""


@pytest.mark.host
def test_a_server_that_never_answers(tmp_path: Path, require: Callable[..., None]) -> None:
    require(root=True)
    require(when=Path("/dev/fuse").exists(), reason="the kernel has no FUSE")
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    require(when="not here" not in done.stderr, reason=f"namespaces or FUSE are not allowed: {done.stderr}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["size"] is None
    assert "did not answer" in found["absences"][f"file_systems[{tmp_path}].size"]
    assert found["root"] > 0
    assert found["took"] < 2
    # Asked once, not with every scan.
    assert found["threads"] == 1
