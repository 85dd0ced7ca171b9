"""Writers of specs and the loop, which writes statuses, at the same time: nobody loses, nobody takes anything back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from common.errors import Conflict
from nixcc.resource.v1 import resource_pb2
from plane import resource
from reconciler.catalog import Catalog
from reconciler.conditions import Aspect, build, timestamp
from reconciler.resources import Entry, Resources
from reconciler.store import MemoryStore, Remove, Store, open_store
from widgets import Widget


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made = MemoryStore() if request.param == "memory" else await open_store(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def resources(store: Store) -> Resources:
    made = Resources(store, Catalog())
    await add(made, "one")
    return made


async def add(resources: Resources, name: str) -> Entry:
    new = resource(Widget(size=1), name)
    new.metadata.generation = 1
    new.metadata.key = name
    await resources.commit([resources.put(new, spec_changed=True, expect=0)])
    return resources.require("Widget", name)


def status(number: int) -> resource_pb2.Status:
    aspects = {"Ready": Aspect(resource_pb2.CONDITION_STATUS_TRUE, "Round", str(number))}
    return build(resource_pb2.Status(), 1, aspects, now=timestamp(0))


def copy(entry: Entry) -> resource_pb2.Resource:
    made = resource_pb2.Resource()
    made.CopyFrom(entry.resource)
    return made


def told(resources: Resources, name: str = "one") -> str:
    conditions = resources.require("Widget", name).resource.status.conditions
    return conditions[0].message if conditions else ""


async def test_a_spec_written_after_a_status_keeps_the_status(resources: Resources) -> None:
    edited = copy(resources.require("Widget", "one"))
    edited.metadata.labels["app"] = "web"
    put = resources.put(edited, spec_changed=True, expect=resources.require("Widget", "one").etag)
    await resources.write_statuses([(resources.require("Widget", "one"), status(7))])

    await resources.commit([put])

    assert told(resources) == "7"
    assert resources.require("Widget", "one").resource.metadata.labels["app"] == "web"
    stored = await resources.store.get("Widget", "one")
    assert stored is not None
    assert stored.value == resources.require("Widget", "one").value, "what is shown is what is stored"


async def test_a_status_written_after_a_spec_keeps_the_spec(resources: Resources) -> None:
    entry = resources.require("Widget", "one")
    edited = copy(entry)
    edited.spec.Pack(Widget(size=5))
    edit = resources.commit([resources.put(edited, spec_changed=True, expect=entry.etag)])

    await asyncio.gather(edit, resources.write_statuses([(entry, status(3))]))

    assert told(resources) == "3"
    spec = Widget()
    resources.require("Widget", "one").resource.spec.Unpack(spec)
    assert spec.size == 5


async def test_a_spec_written_after_another_spec_is_a_conflict(resources: Resources) -> None:
    entry = resources.require("Widget", "one")
    first, second = copy(entry), copy(entry)
    puts = [resources.put(each, spec_changed=True, expect=entry.etag) for each in (first, second)]
    await resources.commit(puts[:1])

    with pytest.raises(Conflict):
        await resources.commit(puts[1:])


async def test_any_number_of_writers_end_with_the_last_of_each(resources: Resources) -> None:
    """One writes statuses without a pause, others edit: each edit succeeds by its etag alone."""
    rounds = 40

    async def tell() -> None:
        for number in range(rounds):
            await resources.write_statuses([(resources.require("Widget", "one"), status(number))])

    async def edit() -> None:
        for number in range(rounds):
            entry = resources.require("Widget", "one")
            edited = copy(entry)
            edited.metadata.labels["round"] = str(number)
            await asyncio.sleep(0)
            await resources.commit([resources.put(edited, spec_changed=True, expect=entry.etag)])

    await asyncio.gather(tell(), edit())

    assert told(resources) == str(rounds - 1)
    assert resources.require("Widget", "one").resource.metadata.labels["round"] == str(rounds - 1)


async def test_an_equal_status_is_not_written(resources: Resources) -> None:
    entry = resources.require("Widget", "one")
    await resources.write_statuses([(entry, status(1))])
    revision = resources.store.revision

    await resources.write_statuses([(entry, status(1))])

    assert resources.store.revision == revision


async def test_a_status_of_what_is_gone_is_dropped(resources: Resources) -> None:
    entry, other = resources.require("Widget", "one"), await add(resources, "two")
    removal = resources.commit([Remove("Widget", "one")])

    await asyncio.gather(removal, resources.write_statuses([(entry, status(1)), (other, status(2))]))

    assert resources.get("Widget", "one") is None
    assert told(resources, "two") == "2"


async def test_what_was_committed_is_shown_though_its_writer_left(resources: Resources) -> None:
    for number in range(30):
        entry = resources.require("Widget", "one")
        edited = copy(entry)
        edited.metadata.labels["round"] = str(number)
        put = resources.put(edited, spec_changed=True, expect=entry.etag)
        writer = asyncio.create_task(resources.commit([put]))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        await resources.write_statuses([(resources.require("Widget", "one"), status(number))])

        stored = await resources.store.get("Widget", "one")
        assert stored is not None
        assert resources.require("Widget", "one").value == stored.value


async def test_made_anew_is_found_by_its_new_key_only(resources: Resources) -> None:
    await resources.commit([Remove("Widget", "one")])
    assert resources.by_key("Widget", "one") is None
    again = resource(Widget(size=1), "one")
    again.metadata.key = "other"
    await resources.commit([resources.put(again, spec_changed=True, expect=0)])

    found = resources.by_key("Widget", "other")

    assert found is not None
    assert found.name == "one"
    assert resources.by_key("Widget", "one") is None
