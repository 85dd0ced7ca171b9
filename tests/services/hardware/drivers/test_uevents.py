"""Real hot-plug events of this machine's kernel: a veth pair, a loop device."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.hardware.drivers.uevents import Uevents
from services.hardware.models.events import DeviceAction, DeviceEvent, Gap

pytestmark = pytest.mark.host

Events = queue.Queue[DeviceEvent | Gap]


@pytest.fixture
def uevents(require: Callable[..., None]) -> Iterator[Uevents]:
    require(root=True)
    require(module="pyudev")
    uevents = Uevents()
    yield uevents
    uevents.close()


def _wait(events: Events, action: DeviceAction, name: str) -> DeviceEvent:
    while True:
        event = events.get(timeout=5)
        if isinstance(event, DeviceEvent) and (event.action, event.name) == (action, name):
            return event


def test_a_network_interface_comes_and_goes(uevents: Uevents, require: Callable[..., None]) -> None:
    require(binary="ip")
    first: Events = queue.Queue()
    second: Events = queue.Queue()
    stop_first, stop_second = uevents.subscribe(first.put), uevents.subscribe(second.put)
    subprocess.run(["ip", "link", "add", "ncctest0", "type", "veth", "peer", "name", "ncctest1"], check=True)
    try:
        added = _wait(first, DeviceAction.ADD, "ncctest0")
        assert added.subsystem == "net"
        assert added.sys_path == "/sys/devices/virtual/net/ncctest0"
        assert added.properties["INTERFACE"] == "ncctest0"
        assert added.sequence > 0
        _wait(second, DeviceAction.ADD, "ncctest1")
        stop_second()
    finally:
        subprocess.run(["ip", "link", "delete", "ncctest0"], check=True)
    removed = _wait(first, DeviceAction.REMOVE, "ncctest0")
    assert removed.sequence > added.sequence
    stop_first()
    heard = [event for event in second.queue if isinstance(event, DeviceEvent) and event.name == "ncctest0"]
    assert DeviceAction.REMOVE not in [event.action for event in heard]
    assert not any(thread.name == "uevents" for thread in threading.enumerate())


def test_a_loop_device_gets_and_loses_its_image(uevents: Uevents, loop: Callable[..., Any]) -> None:
    events: Events = queue.Queue()
    stop = uevents.subscribe(events.put)
    name = loop().device.removeprefix("/dev/")
    event = _wait(events, DeviceAction.CHANGE, name)
    assert (event.subsystem, event.node, event.type) == ("block", f"/dev/{name}", "disk")
    stop()


def test_listening_again_after_the_last_one_left(uevents: Uevents, loop: Callable[..., Any]) -> None:
    uevents.subscribe(lambda event: None)()
    events: Events = queue.Queue()
    uevents.subscribe(events.put)
    _wait(events, DeviceAction.CHANGE, loop().device.removeprefix("/dev/"))
