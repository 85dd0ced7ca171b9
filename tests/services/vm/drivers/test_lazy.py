from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.vm.drivers.base import VmDriver
from services.vm.drivers.lazy import LazyVmDriver
from services.vm.drivers.memory import MemoryVmDriver


def test_it_is_made_once_by_whoever_needs_it_first() -> None:
    made: list[VmDriver] = []

    def make() -> VmDriver:
        made.append(MemoryVmDriver())
        return made[-1]

    lazy = LazyVmDriver("libvirt", (), make)
    assert lazy.error() == ""
    assert made == []

    threads = [threading.Thread(target=lambda: lazy.machines.names()) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 1
    assert lazy.hypervisor() == made[0].hypervisor()
    lazy.close()


@pytest.mark.host
def test_a_host_without_machines_never_loads_libvirt(tmp_path: Path) -> None:
    code = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from common.manager import Context
from services.vm import create

folder = Path({str(tmp_path)!r})
context = Context(root=folder, state_dir=folder, runtime_dir=folder, executor=ThreadPoolExecutor(1),
                  settings={{"uri": "test:///default"}})
service = create(context)
assert service.backend_error() == "" and service.capabilities and service.driver == "libvirt"
for kind in service.kinds:
    assert kind.unsupported() == ""
    kind.validate("one", kind.spec())
print("libvirt" in sys.modules)
service.kinds[0].detect(["test"])
print("libvirt" in sys.modules)
service.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("False", "True")
