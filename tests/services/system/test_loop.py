"""The service under the real control loop: declared, drifted in every way, healed, deleted."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nixcc.resource.v1 import resource_pb2
from nixcc.system.v1.file_pb2 import File
from nixcc.system.v1.host_identity_pb2 import HostIdentity
from nixcc.system.v1.sysctl_pb2 import Sysctl
from plane import Plane, condition, eventually, plane, resource
from services.system import create


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane(tmp_path, {"system": create}) as started:
        yield started


def motd(host: Plane) -> Path:
    return host.settings.root / "etc/motd"


async def declared(host: Plane) -> None:
    await host.apply(resource(File(path="/etc/motd", content="hello\n", mode=0o644), "motd"))
    await host.until_ready("File", "motd")


def as_declared(path: Path) -> bool:
    try:
        return (
            path.read_text() == "hello\n" and path.stat().st_mode & 0o7777 == 0o644 and not path.is_symlink()
        )
    except OSError:
        return False


DRIFT: dict[str, Callable[[Path], object]] = {
    "edited": lambda path: path.write_text("x"),
    "deleted": lambda path: path.unlink(),
    "chmodded": lambda path: path.chmod(0o600),
    "replaced by a link": lambda path: (path.unlink(), path.symlink_to("/nowhere")),
    "replaced by a folder": lambda path: (path.unlink(), path.mkdir()),
    "moved with its folder": lambda path: path.parent.rename(path.parent.with_name("away")),
}


@pytest.mark.parametrize("drift", DRIFT, ids=str)
async def test_drift_is_healed(host: Plane, drift: str) -> None:
    await declared(host)
    DRIFT[drift](motd(host))
    await eventually(lambda: as_declared(motd(host)))


async def test_what_cannot_be_healed_is_told_and_healed_once_it_can(host: Plane) -> None:
    await declared(host)
    motd(host).unlink()
    os.mkfifo(motd(host))
    stuck = await host.until("File", "motd", lambda r: condition(r, "Stalled").reason == "WrongState")
    assert "FIFO" in condition(stuck, "Ready").message
    motd(host).unlink()
    await host.until_ready("File", "motd")
    assert as_declared(motd(host))


async def test_deleted(host: Plane) -> None:
    await declared(host)
    await host.delete("File", "motd")
    await host.until_gone("File", "motd")
    assert not motd(host).exists()
    assert motd(host).parent.is_dir()


async def test_identity_is_released_not_removed(host: Plane) -> None:
    await host.apply(resource(HostIdentity(hostname="web", locale="C.UTF-8"), "host"))
    await host.until_ready("HostIdentity", "host")
    name = host.settings.root / "etc/hostname"
    name.write_text("other\n")
    await eventually(lambda: name.read_text() == "web\n")
    await host.delete("HostIdentity", "host")
    await host.until_gone("HostIdentity", "host")
    assert name.read_text() == "web\n"


async def test_kernel_parameters_are_unsupported_in_a_folder(host: Plane) -> None:
    await host.apply(resource(Sysctl(value="1"), "net.ipv4.ip_forward"))
    found = await host.until(
        "Sysctl", "net.ipv4.ip_forward", lambda r: condition(r, "Ready").reason == "Unsupported"
    )
    assert condition(found, "Ready").status == resource_pb2.CONDITION_STATUS_FALSE
    assert found.metadata.key == "net.ipv4.ip_forward"
    await host.delete("Sysctl", "net.ipv4.ip_forward")
    await host.until_gone("Sysctl", "net.ipv4.ip_forward")
