"""What the service is made of, by host."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.manager import Context, Service
from services.system import create


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def made(executor: ThreadPoolExecutor, folder: Path, root: Path, **settings: str) -> Service:
    return create(Context(root, folder / "state", folder / "run", executor, settings))


def reasons(service: Service) -> Mapping[str, str]:
    return {kind.spec.DESCRIPTOR.name: kind.unsupported() for kind in service.kinds}


def test_in_a_folder(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    service = made(executor, tmp_path, tmp_path / "root")
    found = reasons(service)
    assert (found["File"], found["HostIdentity"]) == ("", "")
    assert "--root /" in found["Sysctl"]
    assert "--root /" in found["SystemdUnit"]
    service.close()
    service.close()


def test_on_the_host(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    service = made(executor, tmp_path, Path("/"))
    found = reasons(service)
    assert found["Sysctl"] == ""
    runs_systemd = Path("/run/systemd/system").exists()
    assert (found["SystemdUnit"] == "") == runs_systemd
    assert ("systemd" in service.capabilities) == runs_systemd
    service.close()


def test_bus_by_setting(executor: ThreadPoolExecutor, tmp_path: Path) -> None:
    service = made(executor, tmp_path, Path("/"), bus=f"unix:path={tmp_path}/none")
    assert reasons(service)["SystemdUnit"] == ""
    service.close()


def test_importing_is_cheap() -> None:
    """No backend's library, and nothing of the service, before `create` is called."""
    script = (
        "import sys; import services.system;"
        "assert not [m for m in sys.modules if m.startswith(('dbus_fast', 'services.system.'))]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_library_of_systemd_is_only_loaded_where_it_is_used(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor;"
        "from common.manager import Context; from services.system import create;"
        "p = Path(sys.argv[1]); create(Context(p, p, p, ThreadPoolExecutor(1))).close();"
        "assert 'dbus_fast' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=30)
