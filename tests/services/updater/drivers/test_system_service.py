"""The wire to the system service: the real one, as far as it gets without a NixOS host. Whole switches are tested
from the command line."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.errors import Cancelled, ControlError, HostUnavailable, NotFound
from common.host import serve_service
from services.system import create
from services.updater.drivers.base import Outcome, Step
from services.updater.drivers.system_service import SystemService


def ignore(step: Step) -> None:
    """Nobody listens."""


def test_nobody_listens(tmp_path: Path) -> None:
    system = SystemService(tmp_path / "system.sock")
    with pytest.raises(HostUnavailable, match="does not run"):
        system.generation()
    system.close()


def test_dead_socket(tmp_path: Path) -> None:
    (tmp_path / "system.sock").touch()
    system = SystemService(tmp_path / "system.sock")
    with pytest.raises(HostUnavailable):
        system.generation()
    system.close()


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[SystemService]:
    socket = tmp_path / "run/system.sock"
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    async with serve_service("system", create, socket, state_dir=tmp_path / "state", root=root):
        made = SystemService(socket)
        yield made
        made.close()


async def test_no_nixos(system: SystemService) -> None:
    with pytest.raises(ControlError, match="no NixOS host"):
        await asyncio.to_thread(system.build, "path:/nowhere", "web", ignore, threading.Event())
    assert await asyncio.to_thread(system.mark) == ""
    found = await asyncio.to_thread(system.outcome, "", "/nix/store/x")
    assert found.outcome is Outcome.UNKNOWN


async def test_generation_that_is_gone(system: SystemService, tmp_path: Path) -> None:
    (tmp_path / "root/etc/NIXOS").touch()
    assert await asyncio.to_thread(system.generation) == 0
    with pytest.raises(NotFound, match="generation 7 is gone"):
        await asyncio.to_thread(system.toplevel, 7)


async def test_probes_and_cancelling_them(system: SystemService, tmp_path: Path) -> None:
    (tmp_path / "root/etc/NIXOS").touch()
    assert await asyncio.to_thread(system.probe, (), ignore, threading.Event()) == []
    good = '{"name": "good", "command": {"argv": ["/bin/true"]}}'
    bad = '{"name": "bad", "timeout": 1, "command": {"argv": ["/bin/false"]}}'
    found = await asyncio.to_thread(system.probe, (good, bad), ignore, threading.Event())
    assert [(check.name, check.passed) for check in found] == [("good", True), ("bad", False)]
    assert found[1].message
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    slow = '{"name": "slow", "timeout": 60, "command": {"argv": ["/bin/false"]}}'
    begin = time.monotonic()
    with pytest.raises(Cancelled):
        await asyncio.to_thread(system.probe, (slow,), ignore, cancel)
    assert time.monotonic() - begin < 10
