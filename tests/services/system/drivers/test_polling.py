"""Hints by looking again."""

from __future__ import annotations

import queue
from collections.abc import Mapping, Sequence

from common.errors import HostUnavailable
from services.system.drivers.polling import Polling


def test_tells_what_changed_and_only_that() -> None:
    values: dict[str, object] = {"a": 1, "b": 1, "c": 1}
    told: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    polling = Polling(
        lambda keys: {key: values.get(key) for key in keys}, lambda keys: told.put(tuple(keys)), seconds=0.01
    )
    try:
        polling.hold(["a", "b", "c"])
        polling.drop(["c"])
        values["c"] = 2
        values["b"] = 2
        assert told.get(timeout=5) == ("b",)
        values["b"] = 3
        assert told.get(timeout=5) == ("b",)
        del values["a"]
        assert told.get(timeout=5) == ("a",)
    finally:
        polling.close()


def test_survives_an_error() -> None:
    told: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
    looks = iter([{"a": 1}, None, {"a": 2}])
    last: dict[str, object] = {}

    def look(keys: Sequence[str]) -> Mapping[str, object]:
        values = next(looks, last)
        if values is None:
            raise HostUnavailable("away")
        last.update(values)
        return values

    polling = Polling(look, lambda keys: told.put(tuple(keys)), seconds=0.01)
    try:
        polling.hold(["a"])
        assert told.get(timeout=5) == ("a",)
    finally:
        polling.close()
