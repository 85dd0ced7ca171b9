"""A container takes another's place: the new one is well before the old one goes, else the old one stays.

NAME.nixcc-new is the one that tries, NAME.nixcc-old the one that leaves. Whoever was killed in the middle is followed
by `recover`, which tells from these names how far it had come.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from common.errors import ControlError, HostUnavailable, NotFound, WrongState
from common.failpoints import hit
from nixcc.homelab.v1 import container_pb2 as pb
from services.homelab.containers.normalisation import NEW, OLD
from services.homelab.containers.waiting import GRACE, until_well
from services.homelab.drivers.base import Engine, Json, Report
from services.homelab.inspecting import parse_time

# Seconds until the next try where the engine went away in the middle.
_RETRY = 5.0


def recover(engine: Engine, name: str) -> str:
    """Ends what an earlier replacement had begun; what was done, empty: nothing was to be."""
    containers = engine.containers
    new, old = containers.inspect(name + NEW), containers.inspect(name + OLD)
    if new is None and old is None:
        return ""
    there = containers.inspect(name)
    if there is None and old is not None:
        # The new one was well when the old one was renamed.
        if new is not None:
            containers.rename(name + NEW, name)
        else:
            containers.rename(name + OLD, name)
            return "took the old container back"
    elif new is not None:
        _step_back(engine, name, started_again=there is not None and _stopped_for(there, new))
    if old is not None:
        containers.stop(name + OLD)
        containers.remove(name + OLD, force=True)
    return "ended an earlier replacement"


def replace(
    engine: Engine,
    name: str,
    spec: pb.Container,
    old: Json,
    create: Callable[[str], None],
    report: Report,
    grace: float = GRACE,
) -> str:
    """Puts what `create` makes (stopped, by the name given) in the place of `old`; how it went.

    `grace`: seconds that the new one must run where it has no health check.

    WrongState where the new one isn't well: then the old one is as it was. HostUnavailable where the engine went away.
    """
    containers = engine.containers
    runs = is_up(old)
    if not spec.running:
        create(name + NEW)
        _take_over(engine, name)
        return "replaced"
    beside = runs and not clashes(spec, old)
    create(name + NEW)
    hit("homelab.new_created")
    try:
        if runs and not beside:
            report("stops the old container: both can't run at once", None)
            containers.stop(name)
            hit("homelab.old_stopped")
        report("starts the new container", None)
        containers.start(name + NEW)
        until_well(engine, name + NEW, name, grace)
    except ControlError as error:
        _step_back(engine, name, started_again=runs and not beside)
        kept = "the old one runs" if runs else "the old one was kept"
        text = f"{name} was not replaced, {kept}: {error.message}"
        if isinstance(error, HostUnavailable):
            # Nothing was found out about the new one.
            raise HostUnavailable(text, retry_after=_RETRY, next_step=error.next_step) from error
        raise WrongState(text, next_step=error.next_step) from error
    _take_over(engine, name)
    return "replaced, the new one was well before the old one went" if beside else "replaced"


def clashes(spec: pb.Container, old: Json) -> bool:
    """Whether the new one can't run beside the old: ports, addresses, the host's network, or data both would write."""
    host = old.get("HostConfig") or {}
    mode = str(host.get("NetworkMode") or "")
    if spec.network_mode == "host" or mode == "host" or mode.startswith("container:"):
        return True
    taken = {
        (int(binding.get("HostPort") or 0), key.partition("/")[2] or "tcp")
        for key, bindings in (host.get("PortBindings") or {}).items()
        for binding in bindings or ()
    }
    if any(port.host and (port.host, port.protocol or "tcp") in taken for port in spec.ports):
        return True
    if any(attachment.ipv4_address or attachment.ipv6_address for attachment in spec.networks):
        return True
    written = {
        str(mount.get("Name") or mount.get("Source") or "")
        for mount in old.get("Mounts") or ()
        if mount.get("RW", True) and mount.get("Type") in ("volume", "bind")
    }
    # Also volumes without a name are carried over.
    return bool(written)


def is_up(inspected: Json) -> bool:
    """Whether it was started and has not ended."""
    return bool((inspected.get("State") or {}).get("Running"))


def _stopped_for(old: Json, new: Json) -> bool:
    """Whether the old one ended after the new one was made: then it was for that."""
    ended = parse_time(str((old.get("State") or {}).get("FinishedAt", "")))
    made = parse_time(str(new.get("Created", "")))
    return not is_up(old) and ended is not None and made is not None and ended >= made


def _step_back(engine: Engine, name: str, *, started_again: bool) -> None:
    """The new one goes. It is there until the old one runs: were we ended before, `recover` finds out by it."""
    containers = engine.containers
    if started_again:
        with suppress(NotFound):
            containers.stop(name + NEW, 0)
        try:
            containers.start(name)
        except ControlError as error:
            if error.retryable:
                raise
            # It can't run any longer, whatever the new one does; the next look tells.
    containers.remove(name + NEW, force=True)


def _take_over(engine: Engine, name: str) -> None:
    containers = engine.containers
    containers.rename(name, name + OLD)
    hit("homelab.old_renamed")
    containers.rename(name + NEW, name)
    hit("homelab.new_renamed")
    containers.stop(name + OLD)
    containers.remove(name + OLD, force=True)
