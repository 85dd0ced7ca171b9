"""Processes of this host that belong to containers."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def hang_up(pid: int, container: str) -> bool:
    """Sends SIGHUP to a program in a container and its process group; whether it was there.

    `pid` is the host's. An engine may run elsewhere, and a number be another process's by now: only one that is in the
    container's control group is meant.
    """
    if not container:
        return False
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if container not in Path(f"/proc/{pid}/cgroup").read_text():
            return False
        leads = os.getpgid(pid) == pid
        signal.pidfd_send_signal(handle, signal.SIGHUP)
        if leads:
            # Its children, which a shell would leave behind.
            with suppress(OSError):
                os.killpg(pid, signal.SIGHUP)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
