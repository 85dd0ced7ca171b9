"""A domain's serial console over a libvirt stream, driven by libvirt's event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import libvirt

from common.errors import WrongState
from services.vm.drivers.libvirt_errors import to_control_error

_CHUNK = 64 * 1024
_HUNG_UP = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
# Seconds that the hypervisor gets to take input.
_PATIENCE = 10.0


def open_console(
    domain: Any, force: bool, output: Callable[[bytes], None], ended: Callable[[str], None]
) -> LibvirtConsole:
    """Connects; libvirt's own errors pass."""
    stream = domain.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
    flags = libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else libvirt.VIR_DOMAIN_CONSOLE_SAFE
    domain.openConsole(None, stream, flags)
    return LibvirtConsole(stream, output, ended)


class LibvirtConsole:
    """See Console."""

    def __init__(self, stream: Any, output: Callable[[bytes], None], ended: Callable[[str], None]) -> None:
        self._stream = stream
        self._output = output
        self._ended = ended
        self._lock = threading.RLock()
        self._writable = threading.Event()
        self._open = True
        self._reading = True
        self._writing = False
        stream.eventAddCallback(self._events(), self._on_event, None)

    def send(self, data: bytes) -> None:
        """See Console."""
        while data:
            self._writable.clear()
            with self._lock:
                if not self._open:
                    raise WrongState("the console is closed")
                try:
                    sent = self._stream.send(data)
                except libvirt.libvirtError as error:
                    raise to_control_error(error, "typing on the console failed") from error
                if sent == -2:
                    self._writing = True
                    self._stream.eventUpdateCallback(self._events())
            if sent == -2:
                if not self._writable.wait(_PATIENCE):
                    raise WrongState("the machine takes no input on its console")
                continue
            data = data[sent:]

    def pause(self) -> None:
        """See Console."""
        self._listen(False)

    def resume(self) -> None:
        """See Console."""
        self._listen(True)

    def close(self) -> None:
        """See Console."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._writable.set()
            try:
                self._stream.eventRemoveCallback()
                self._stream.abort()
            except libvirt.libvirtError:
                # The machine went first.
                pass

    def _listen(self, reading: bool) -> None:
        with self._lock:
            if self._open and self._reading != reading:
                self._reading = reading
                self._stream.eventUpdateCallback(self._events())

    def _events(self) -> int:
        events = int(_HUNG_UP)
        if self._reading:
            events |= libvirt.VIR_STREAM_EVENT_READABLE
        if self._writing:
            events |= libvirt.VIR_STREAM_EVENT_WRITABLE
        return events

    def _on_event(self, _stream: Any, events: int, _opaque: Any) -> None:
        with self._lock:
            if not self._open:
                return
            if events & libvirt.VIR_STREAM_EVENT_WRITABLE:
                self._writing = False
                self._stream.eventUpdateCallback(self._events())
                self._writable.set()
            reason: str | None = None
            if events & (libvirt.VIR_STREAM_EVENT_READABLE | _HUNG_UP):
                reason = self._drain()
            if reason is None and events & _HUNG_UP:
                reason = ""
        if reason is not None:
            self.close()
            self._ended(reason)

    def _drain(self) -> str | None:
        """Takes what is there; the reason of the end where it came."""
        while self._reading:
            try:
                got = self._stream.recv(_CHUNK)
            except libvirt.libvirtError as error:
                return error.get_error_message() or "the connection broke"
            if isinstance(got, int):
                return None
            if not got:
                return ""
            self._output(got)
        return None
