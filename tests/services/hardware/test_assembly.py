from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.manager import Context, Service
from services.hardware import create


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def _made(executor: ThreadPoolExecutor, folder: Path, root: Path, **settings: str) -> Service:
    return create(Context(root, folder / "state", folder / "run", executor, settings))


def test_a_confined_service_has_no_kinds_but_scans(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    service = _made(executor, tmp_path, tmp_path / "root")
    assert {kind.spec.DESCRIPTOR.name for kind in service.kinds} == {
        "Mount",
        "Swap",
        "KernelModule",
        "CpuGovernor",
    }
    for kind in service.kinds:
        assert str(tmp_path / "root") in kind.unsupported()
        assert not getattr(kind, "enumerate", list)()
    assert service.driver == "linux"
    assert "hotplug" in service.capabilities
    service.close()
    # Nothing is written for a service that did nothing.
    assert not (tmp_path / "state").exists()


def test_a_recorded_machine(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    (tmp_path / "snapshot.json").write_text("{}")
    service = _made(executor, tmp_path, Path("/"), snapshot=str(tmp_path / "snapshot.json"))
    assert service.driver == "memory"
    service.close()


def test_importing_is_cheap() -> None:
    script = (
        "import sys; import services.hardware; "
        "print([m for m in ('psutil', 'pyudev', 'grpc', 'services.hardware.rpc') if m in sys.modules and m != 'grpc'])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
