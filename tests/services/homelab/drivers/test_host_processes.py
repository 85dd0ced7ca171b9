"""Only what is in the container's control group is ended."""

from __future__ import annotations

import subprocess

from services.homelab.drivers.host_processes import hang_up


def test_a_process_of_somebody_else_is_left_alone() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        assert not hang_up(process.pid, "")
        assert not hang_up(process.pid, "0123456789abcdef")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert not hang_up(process.pid, "0123456789abcdef")
