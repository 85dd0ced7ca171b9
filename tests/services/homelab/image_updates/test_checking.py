"""Which tags lead to other images now, asked of a real registry."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from common.errors import Cancelled
from dockerd import BUSYBOX, Dockerd
from registry import push
from services.homelab.drivers.base import Engine
from services.homelab.image_updates.checking import check
from services.homelab.models import ImageUpdate

pytestmark = pytest.mark.host


def checked(engine: Engine, *names: str) -> Sequence[ImageUpdate]:
    inspected = [engine.containers.inspect(name) for name in names]
    told: list[int | None] = []
    found = check(
        engine,
        [one for one in inspected if one is not None],
        lambda text, percent: told.append(percent),
        threading.Event(),
    )
    assert told == sorted(told, key=lambda percent: percent or 0)
    return found


def test_a_tag_that_moves(daemon: Dockerd, engine: Engine, shop: str) -> None:
    old = push(daemon, BUSYBOX, f"{shop}/app:1")
    daemon.docker("pull", f"{shop}/app:1")
    for name, image in (("app", f"{shop}/app:1"), ("pinned", f"{shop}/app@{old}")):
        engine.containers.create(name, {"Image": image})
    try:
        [before] = checked(engine, "app")
        assert (before.running, before.available, before.outdated, before.error) == (old, old, False, "")

        daemon.busybox("other:1", command=("true",))
        daemon.docker("tag", f"{shop}/app:1", "kept:1")
        new = push(daemon, "other:1", f"{shop}/app:1")

        app, pinned = checked(engine, "app", "pinned")
        assert (app.running, app.available, app.outdated) == (old, new, True)
        assert (pinned.pinned, pinned.outdated) == (True, False)
    finally:
        for name in ("app", "pinned"):
            engine.containers.remove(name, force=True)


def test_what_can_not_be_told_is_told_for_its_image_alone(daemon: Dockerd, engine: Engine, shop: str) -> None:
    push(daemon, BUSYBOX, f"{shop}/good:1")
    daemon.docker("pull", f"{shop}/good:1")
    daemon.docker("tag", BUSYBOX, "127.0.0.1:1/away:1")
    for name, image in (("good", f"{shop}/good:1"), ("away", "127.0.0.1:1/away:1")):
        engine.containers.create(name, {"Image": image})
    try:
        away, good = checked(engine, "away", "good")
        assert (away.outdated, away.available) == (False, "")
        assert "was not fetched from a registry" in away.error
        assert (good.error, good.outdated) == ("", False)
        cancel = threading.Event()
        cancel.set()
        inspected: Any = engine.containers.inspect("good")
        with pytest.raises(Cancelled):
            check(engine, [inspected], lambda *_: None, cancel)
    finally:
        for name in ("good", "away"):
            engine.containers.remove(name, force=True)
