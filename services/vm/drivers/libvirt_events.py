"""libvirt's event loop: one thread for the whole process, started once and before any connection."""

from __future__ import annotations

import threading

import libvirt
import structlog

log = structlog.get_logger()

_lock = threading.Lock()
_thread: threading.Thread | None = None


def start_event_loop() -> None:
    """Starts it where it does not run yet. It ends with the process and costs nothing while nothing happens."""
    global _thread
    with _lock:
        if _thread is not None and _thread.is_alive():
            return
        if _thread is None:
            # libvirt prints errors to standard error by itself otherwise.
            libvirt.registerErrorHandler(lambda _context, _error: None, None)
            libvirt.virEventRegisterDefaultImpl()
        _thread = threading.Thread(target=_run, name="libvirt-events", daemon=True)
        _thread.start()


def _run() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            log.warning("libvirt's event loop failed once", reason=str(error))
