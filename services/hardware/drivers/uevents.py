"""The kernel's own hot-plug events, from its netlink socket through pyudev; works without udevd."""

from __future__ import annotations

import errno
import os
import select
import threading
from datetime import UTC, datetime
from typing import Any

import structlog

from common.errors import Unsupported
from services.hardware.drivers.base import Stop, Tell
from services.hardware.models.events import DeviceAction, DeviceEvent, Gap

log = structlog.get_logger()

# The kernel keeps so many bytes of events while we don't read.
_BUFFER = 16 << 20


class Uevents:
    """One socket and one thread for all who listen; both only while somebody does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[object, Tell] = {}
        self._thread: threading.Thread | None = None
        self._wake = -1

    def subscribe(self, tell: Tell) -> Stop:
        """Events from now on; `tell` is called on the reading thread and must not block."""
        token = object()
        with self._lock:
            if self._thread is None:
                self._start()
            self._listeners[token] = tell

        def stop() -> None:
            with self._lock:
                self._listeners.pop(token, None)
                thread = None if self._listeners else self._end()
            if thread is not None and thread is not threading.current_thread():
                thread.join()

        return stop

    def close(self) -> None:
        """Ends it for everybody."""
        with self._lock:
            self._listeners.clear()
            thread = self._end()
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        try:
            import pyudev

            monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
            try:
                monitor.set_receive_buffer_size(_BUFFER)
            except OSError:
                log.debug("hot-plug events keep the kernel's default buffer")
            monitor.start()
        except (ImportError, OSError) as error:
            raise Unsupported(
                f"the kernel's hot-plug events can't be had: {error}", next_step="install libudev"
            ) from error
        ready, self._wake = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._read, args=(monitor, ready), name="uevents", daemon=True)
        self._thread.start()

    def _end(self) -> threading.Thread | None:
        thread, self._thread = self._thread, None
        if thread is not None:
            os.close(self._wake)
        return thread

    def _read(self, monitor: Any, ready: int) -> None:
        poll = select.poll()
        poll.register(monitor.fileno(), select.POLLIN)
        poll.register(ready, select.POLLIN)
        try:
            while True:
                if any(descriptor == ready for descriptor, _ in poll.poll()):
                    return
                self._receive(monitor)
        finally:
            os.close(ready)

    def _receive(self, monitor: Any) -> None:
        try:
            device = monitor.poll(timeout=0)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._tell(Gap())
            return
        if device is not None and (event := _event(device)):
            self._tell(event)

    def _tell(self, event: DeviceEvent | Gap) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for tell in listeners:
            tell(event)


def _event(device: Any) -> DeviceEvent | None:
    """None: an action that this program does not know."""
    try:
        action = DeviceAction(device.action)
    except ValueError:
        return None
    return DeviceEvent(
        action=action,
        subsystem=device.subsystem or "",
        sys_path=device.sys_path,
        name=device.sys_name,
        sequence=device.sequence_number,
        time=datetime.now(UTC),
        node=device.device_node or "",
        type=device.device_type or "",
        properties={name: device.properties[name] for name in device.properties},
    )
