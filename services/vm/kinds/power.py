"""Starting and stopping machines."""

from __future__ import annotations

import time

import structlog

from common.errors import ControlError, HostUnavailable, NotFound, Unsupported, WrongState
from common.manager import Report
from services.vm.drivers.base import Machines
from services.vm.models import Machine, State

log = structlog.get_logger()

GRACE = 30.0
# Between two looks at a machine that is shutting down, in seconds.
_STEP = 0.05


def is_running(machine: Machine) -> bool | None:
    """What `running` says of it; None: neither (it is paused, it crashed and is kept for a look)."""
    if machine.state in (State.RUNNING, State.SHUTTING_DOWN, State.SUSPENDED):
        return True
    return None if machine.active else False


def unhealthy(machine: Machine) -> str:
    """What is wrong with it; empty: nothing."""
    if machine.state is State.CRASHED or machine.reason == "crashed":
        return "the machine crashed"
    if machine.state is State.PAUSED and machine.reason == "I/O error":
        return "the machine is paused: one of its disks gave an input/output error"
    return ""


def switch_on(machines: Machines, machine: Machine, grace: float) -> str:
    """Starts it, whatever it is doing; returns what was done, empty: it runs already."""
    if machine.state is State.RUNNING:
        return ""
    if machine.state in (State.PAUSED, State.SUSPENDED):
        machines.resume(machine.name)
        return "resumed"
    if machine.state is State.SHUTTING_DOWN:
        wait_off(machines, machine.name, grace)
    if machine.active:
        _destroy(machines, machine.name)
    try:
        machines.start(machine.name)
    except WrongState:
        # Somebody else was faster, or it may not start: only the first is well.
        now = machines.get(machine.name)
        if now is None or not now.active:
            raise
    return "started"


def switch_off(machines: Machines, machine: Machine, grace: float, report: Report) -> str:
    """Asks it to shut down, waits up to `grace` seconds, then switches it off; empty: it is off already."""
    if not machine.active:
        return ""
    if machine.state in (State.RUNNING, State.SHUTTING_DOWN, State.SUSPENDED) and grace > 0:
        try:
            machines.shutdown(machine.name)
        except (WrongState, Unsupported) as error:
            log.info("a machine can't be asked to shut down", machine=machine.name, reason=error.message)
        report(f"{machine.name} was asked to shut down", None)
        if wait_off(machines, machine.name, grace):
            return "shut down"
        report(f"{machine.name} did not shut down within {grace:g} s: switched off", None)
    _destroy(machines, machine.name)
    return "switched off"


def wait_off(machines: Machines, name: str, seconds: float) -> bool:
    """Waits until it is off; False: it still isn't."""
    deadline = time.monotonic() + seconds
    step = _STEP / 10
    while True:
        machine = machines.get(name)
        if machine is None or not machine.active:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(step)  # not every hypervisor tells of a machine that has ended
        step = min(step * 2, _STEP)


def _destroy(machines: Machines, name: str) -> None:
    try:
        machines.destroy(name)
    except (WrongState, NotFound):
        now = machines.get(name)
        if now is not None and now.active:
            raise
    except HostUnavailable:
        raise
    except ControlError:
        # QEMU gone in the meantime is what we wanted.
        now = machines.get(name)
        if now is not None and now.active:
            raise
