"""systemd's manager over D-Bus: one connection on a thread of its own, made again when it breaks.

Source: org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import AuthError, DBusError

from common.errors import ControlError, Forbidden, HostUnavailable, WrongState

log = structlog.get_logger()

T = TypeVar("T")

NAME = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
MANAGER_PATH = "/org/freedesktop/systemd1"
UNIT = "org.freedesktop.systemd1.Unit"
PROPERTIES = "org.freedesktop.DBus.Properties"

_REPLY_SECONDS = 25.0
_RETRY_SECONDS = 1.0
_MATCHES = (
    f"type='signal',sender='{NAME}',interface='{MANAGER}'",
    f"type='signal',sender='{NAME}',interface='{PROPERTIES}',arg0='{UNIT}'",
    f"type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{NAME}'",
)
# How D-Bus' and systemd's own errors are told; all others can be tried again.
_LASTING = (
    "systemd1.NoSuchUnit",
    "systemd1.UnitMasked",
    "systemd1.LoadFailed",
    "DBus.Error.FileNotFound",
    "DBus.Error.InvalidArgs",
    "DBus.Error.FileExists",
    "DBus.Error.UnixProcessIdUnknown",
)
_DENIED = ("AccessDenied", "InteractiveAuthorizationRequired", "AuthFailed")
_AWAY = ("NoReply", "Timeout", "TimedOut", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "NoServer")


class SystemdBus:
    """Calls the manager and hears its signals. Methods block; the callbacks run on the bus's thread."""

    def __init__(
        self,
        address: str | None,
        *,
        on_signal: Callable[[Message], None],
        on_reconnect: Callable[[], None],
    ) -> None:
        """`address`: of the bus; None: the system's."""
        self._address = address
        self._on_signal, self._on_reconnect = on_signal, on_reconnect
        self._start = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._bus: MessageBus | None = None
        self._connecting: asyncio.Lock | None = None
        self._jobs: dict[str, str] = {}
        self._job_ended: asyncio.Condition | None = None
        self._ending = False
        self._keeper: asyncio.Task[None] | None = None

    def run(self, work: Coroutine[Any, Any, T], seconds: float = _REPLY_SECONDS + 5) -> T:
        """Runs a coroutine on the bus's thread; raises HostUnavailable when it takes longer than `seconds`."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        try:
            return future.result(seconds)
        except FutureTimeout:
            future.cancel()
            raise HostUnavailable(f"systemd did not answer within {seconds:g} s") from None

    async def call(
        self,
        member: str,
        signature: str = "",
        *body: Any,
        path: str = MANAGER_PATH,
        interface: str = MANAGER,
    ) -> Sequence[Any]:
        """Calls a method of the manager (or of `path`) and returns what it returned."""
        bus = await self._connected()
        message = Message(
            destination=NAME,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        return await _ask(bus, message)

    async def job(self, member: str, unit: str, seconds: float) -> str:
        """Starts a job (`StartUnit`, `StopUnit` …) and waits for its end; how it ended, `done` where well."""
        assert self._job_ended is not None  # made before any coroutine runs
        path = str((await self.call(member, "ss", unit, "replace"))[0])
        try:
            async with asyncio.timeout(seconds), self._job_ended:
                await self._job_ended.wait_for(lambda: path in self._jobs)
                return self._jobs.pop(path)
        except TimeoutError:
            raise HostUnavailable(f"systemd's job for {unit} did not end within {seconds:g} s") from None

    def listen(self) -> None:
        """Connects, and stays connected: `on_reconnect` is called whenever signals may have been missed."""

        async def begin() -> None:
            connected = await self._tried()
            if self._keeper is None:
                self._keeper = asyncio.ensure_future(self._keep(lost=connected is None))

        self.run(begin())

    def close(self) -> None:
        """Ends the connection and the thread; harmless where there was none."""
        with self._start:
            if self._loop is None or self._thread is None:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        asyncio.run_coroutine_threadsafe(self._end(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _end(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None and bus.connected:
            # The keeper's wait for this ends by itself; cancelled, it would take the bus's own future with it.
            self._ending = True
            bus.disconnect()
            with suppress(OSError, EOFError):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
            await asyncio.sleep(0)
            self._ending = False
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._start:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._connecting, self._job_ended = asyncio.Lock(), asyncio.Condition()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="systemd-bus", daemon=True
                )
                self._thread.start()
            return self._loop

    async def _connected(self) -> MessageBus:
        assert self._connecting is not None  # made before any coroutine runs
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            try:
                bus = await MessageBus(bus_address=self._address, bus_type=BusType.SYSTEM).connect()
            except (OSError, AuthError, DBusError, EOFError) as error:
                raise HostUnavailable(
                    f"the system bus does not answer: {error}", next_step="check that dbus is running"
                ) from error
            bus.add_message_handler(self._hear)
            for rule in _MATCHES:
                await _ask(bus, _to_bus("AddMatch", "s", rule))
            await _ask(
                bus, Message(destination=NAME, path=MANAGER_PATH, interface=MANAGER, member="Subscribe")
            )
            self._bus = bus
            return bus

    async def _keep(self, lost: bool) -> None:
        while not self._ending:
            bus = await self._tried()
            if bus is None:
                lost = True
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if lost:
                self._on_reconnect()
            with suppress(OSError, EOFError):
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
            lost = True

    async def _tried(self) -> MessageBus | None:
        try:
            return await self._connected()
        except ControlError as error:
            log.debug("no connection to systemd", error=str(error))
            return None

    def _hear(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "JobRemoved" and message.interface == MANAGER:
            asyncio.ensure_future(self._end_job(message.body[1], message.body[3]))  # noqa: RUF006
        if message.member == "NameOwnerChanged":
            if message.body[2]:
                asyncio.ensure_future(self._renew())  # noqa: RUF006
            return
        self._on_signal(message)

    async def _renew(self) -> None:
        """systemd itself is new: it has forgotten who listens."""
        with suppress(ControlError):
            await self.call("Subscribe")
            self._on_reconnect()

    async def _end_job(self, path: str, result: str) -> None:
        assert self._job_ended is not None
        async with self._job_ended:
            if len(self._jobs) > 1000:
                self._jobs.clear()  # other people's jobs
            self._jobs[path] = result
            self._job_ended.notify_all()


def _to_bus(member: str, signature: str, *body: Any) -> Message:
    return Message(
        destination="org.freedesktop.DBus",
        path="/org/freedesktop/DBus",
        interface="org.freedesktop.DBus",
        member=member,
        signature=signature,
        body=list(body),
    )


async def _ask(bus: MessageBus, message: Message) -> Sequence[Any]:
    try:
        async with asyncio.timeout(_REPLY_SECONDS):
            reply = await bus.call(message)
    except TimeoutError:
        raise HostUnavailable(f"systemd did not answer {message.member} in {_REPLY_SECONDS:g} s") from None
    except (OSError, EOFError, DBusError) as error:
        raise HostUnavailable(f"the system bus went away during {message.member}") from error
    if reply is None:
        raise HostUnavailable(f"the system bus gave no reply to {message.member}")
    if reply.message_type is MessageType.ERROR:
        raise _explain(reply.error_name or "", str(reply.body[0]) if reply.body else "")
    body: Sequence[Any] = reply.body
    return body


def _explain(name: str, text: str) -> ControlError:
    told = text or name
    if name.endswith(_LASTING):
        return WrongState(told)
    if name.endswith(_DENIED):
        return Forbidden(told, next_step="run the system service as root")
    if name.endswith(_AWAY):
        return HostUnavailable(told)
    return ControlError(f"{told} ({name})")
