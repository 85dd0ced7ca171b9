"""Waits for changes of files in /proc that the kernel signals (mountinfo, swaps: POLLPRI)."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable


class ProcWatch:
    """Calls `changed` with the file's text, once at the start and then after every change, on a thread of its own."""

    def __init__(self, path: str, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._ready, self._wake = os.pipe2(os.O_CLOEXEC)
        # Read here, so that whatever happens after the constructor has returned is a change.
        changed(self._text())
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it; `changed` is not called any more when this returns."""
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1
            self._thread.join()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._file, select.POLLPRI | select.POLLERR)
        poll.register(self._ready, select.POLLIN)
        try:
            while True:
                if any(descriptor == self._ready for descriptor, _ in poll.poll()):
                    return
                self._changed(self._text())
        finally:
            os.close(self._file)
            os.close(self._ready)

    def _text(self) -> str:
        os.lseek(self._file, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._file, 1 << 16):
            parts.append(part)
        return b"".join(parts).decode(errors="replace")
