"""Events of a real dockerd, across its restart."""

from __future__ import annotations

import pytest

from daemons import until
from dockerd import BUSYBOX, Dockerd
from services.homelab.drivers.base import EngineEvent, Gap
from services.homelab.drivers.docker import DockerEngine

pytestmark = pytest.mark.host


def test_events_go_on_after_the_engine_was_restarted(daemon: Dockerd, engine: DockerEngine) -> None:
    seen: list[EngineEvent | Gap] = []
    cancel = engine.subscribe(seen.append)
    assert engine.watching()

    def happened(action: str, name: str) -> bool:
        return any(isinstance(e, EngineEvent) and (e.action, e.name) == (action, name) for e in seen)

    engine.containers.create("first", {"Image": BUSYBOX})
    until(lambda: happened("create", "first"))
    daemon.stop()
    until(lambda: not engine.watching())
    assert "does not answer" in engine.error() or "no such socket" in engine.error()
    daemon.start()
    until(lambda: any(isinstance(event, Gap) for event in seen), 20)
    engine.containers.create("second", {"Image": BUSYBOX})
    until(lambda: happened("create", "second"))
    cancel()
