"""The connection to libvirt: made when first needed, made again after it broke, with events while somebody listens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import libvirt
import structlog

from common.errors import ControlError, HostUnavailable
from services.vm.drivers.base import Cancel, Listener
from services.vm.drivers.libvirt_errors import is_away, to_control_error
from services.vm.drivers.libvirt_events import start_event_loop
from services.vm.models import Event, Subject

log = structlog.get_logger()

# A libvirtd that doesn't answer a ping every two seconds, four times, counts as gone.
_PING_SECONDS, _PINGS = 2, 4
# Seconds that it gets to take a new connection.
_PATIENCE = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0


@dataclass(frozen=True)
class _Opening:
    """A connection on its way, since a time of the monotonic clock."""

    future: Future[Any]
    since: float


class Connection:
    """One libvirt connection for all threads (virConnect is thread-safe)."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # Grows by one with each connection made.
        self.generation = 0
        self._lock = threading.RLock()
        self._current: Any = None
        self._cancels: list[Callable[[], object]] = []
        self._opening: _Opening | None = None
        self._why_not: tuple[float, ControlError] | None = None
        self._listeners: list[Listener] = []
        self._closed = threading.Event()
        self._lost = threading.Event()
        self._keeper: threading.Thread | None = None

    def get(self) -> Any:
        """The virConnect. Raises HostUnavailable, Unsupported or Forbidden while there is none."""
        current = self._current
        if current is not None:
            return current
        with self._lock:
            if self._current is not None:
                return self._current
            opening = self._opening or self._start_opening()
        left = _PATIENCE - (time.monotonic() - opening.since)
        try:
            return opening.future.result(max(left, 0.0))
        except TimeoutError:
            raise HostUnavailable(
                f"libvirt at {self.uri} did not answer within {_PATIENCE:g} s",
                next_step="restart libvirtd if it hangs; it is tried again",
                retry_after=1.0,
            ) from None

    def subscribe(self, listener: Listener) -> Cancel:
        """Events for `listener`, over all reconnections; after each one an event that says all may have changed."""
        with self._lock:
            self._listeners.append(listener)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="libvirt-keeper", daemon=True)
                self._keeper.start()
        try:
            # So that nothing after the return is missed; where it fails the keeper goes on trying.
            self.get()
        except ControlError as error:
            log.info("libvirt does not answer yet", uri=self.uri, reason=str(error))
            self._lost.set()

        def cancel() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return cancel

    def lost(self, error: libvirt.libvirtError) -> None:
        """Told by callers whose call failed: drops the connection where that means that it is gone."""
        current = self._current
        if current is None or not is_away(error):
            return
        try:
            alive = current.isAlive()
        except libvirt.libvirtError:
            alive = False
        if not alive:
            self._drop(current)

    def close(self) -> None:
        """Disconnects for good."""
        self._closed.set()
        self._lost.set()
        with self._lock:
            current, self._current = self._current, None
            self._listeners.clear()
        if current is not None:
            _close(current, self._cancels)
        if self._keeper is not None:
            self._keeper.join(timeout=2 * _LONGEST_WAIT)

    def _start_opening(self) -> _Opening:
        """Connects in a thread: a hung libvirtd takes the connection and never says a word."""
        if self._closed.is_set():
            raise HostUnavailable(f"the connection to {self.uri} was closed")
        if self._why_not is not None and time.monotonic() - self._why_not[0] < _FIRST_WAIT:
            # Every caller at once would otherwise wait for the same answer one after another.
            raise self._why_not[1]
        start_event_loop()
        opening = self._opening = _Opening(Future(), time.monotonic())
        threading.Thread(target=self._open, args=(opening,), name="libvirt-open", daemon=True).start()
        return opening

    def _open(self, opening: _Opening) -> None:
        try:
            opened = libvirt.open(self.uri)
            cancels = self._register(opened)
        except libvirt.libvirtError as error:
            reason = _unreachable(self.uri, error)
            with self._lock:
                self._opening, self._why_not = None, (time.monotonic(), reason)
            opening.future.set_exception(reason)
            return
        try:
            opened.registerCloseCallback(lambda connection, _reason, _opaque: self._drop(opened), None)
            opened.setKeepAlive(_PING_SECONDS, _PINGS)
        except libvirt.libvirtError:
            # libvirt's drivers inside this process have no wire to lose.
            pass
        with self._lock:
            self._opening = self._why_not = None
            wanted = not self._closed.is_set()
            if wanted:
                self._current, self._cancels = opened, cancels
                self.generation += 1
        if wanted:
            log.info("connected to libvirt", uri=self.uri)
            opening.future.set_result(opened)
        else:
            _close(opened, cancels)
            opening.future.set_exception(HostUnavailable(f"the connection to {self.uri} was closed"))

    def _register(self, connection: Any) -> list[Callable[[], object]]:
        """Asks for events; returns what takes that back (a connection with callbacks is never really closed)."""
        cancels: list[Callable[[], object]] = []

        def ask(
            register: Callable[..., int], deregister: Callable[[int], object], number: int, call: Any
        ) -> None:
            try:
                given = register(None, number, call, None)
            except libvirt.libvirtError as error:
                log.debug("libvirt's driver has no such event", number=number, reason=str(error))
            else:
                cancels.append(partial(deregister, given))

        def machine(_connection: Any, domain: Any, *_rest: Any) -> None:
            self._tell(Event(Subject.MACHINE, domain.name()))

        def network(_connection: Any, subject: Any, *_rest: Any) -> None:
            self._tell(Event(Subject.NETWORK, subject.name()))

        def pool(_connection: Any, subject: Any, *_rest: Any) -> None:
            self._tell(Event(Subject.POOL, subject.name()))

        for number in (
            libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
            libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
            libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
            libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
            libvirt.VIR_DOMAIN_EVENT_ID_TRAY_CHANGE,
        ):
            ask(connection.domainEventRegisterAny, connection.domainEventDeregisterAny, number, machine)
        number = libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE
        ask(connection.networkEventRegisterAny, connection.networkEventDeregisterAny, number, network)
        # Not REFRESH: reading volumes refreshes their pool, and would hint at itself.
        number = libvirt.VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE
        ask(connection.storagePoolEventRegisterAny, connection.storagePoolEventDeregisterAny, number, pool)
        return cancels

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            listener(event)

    def _drop(self, connection: Any) -> None:
        with self._lock:
            if self._current is not connection:
                return
            self._current = None
        if not self._closed.is_set():
            log.warning("lost the connection to libvirt", uri=self.uri)
            self._lost.set()

    def _keep(self) -> None:
        """Connects again while somebody listens, and says that events were missed."""
        while True:
            self._lost.wait()
            self._lost.clear()
            if self._closed.is_set():
                return
            self._tell(Event(Subject.MACHINE, ""))
            wait = _FIRST_WAIT
            while not self._closed.wait(wait):
                try:
                    self.get()
                except ControlError:
                    wait = min(wait * 2, _LONGEST_WAIT)
                    continue
                self._tell(Event(Subject.MACHINE, ""))
                break


def _close(connection: Any, cancels: list[Callable[[], object]]) -> None:
    for step in (*cancels, connection.unregisterCloseCallback, connection.close):
        try:
            step()
        except libvirt.libvirtError as error:
            log.debug("closing the connection to libvirt failed", reason=str(error))


def _unreachable(uri: str, error: libvirt.libvirtError) -> ControlError:
    found = to_control_error(error, f"libvirt at {uri} does not answer")
    if error.get_error_code() in (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR):
        return HostUnavailable(
            found.message,
            next_step="start libvirtd (systemctl start libvirtd), or name another one with NCC_VM_URI",
            retry_after=1.0,
        )
    return found
