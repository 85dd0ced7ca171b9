from __future__ import annotations

import pytest

from common.errors import InvalidRequest, NotFound
from nixcc.reconciler.v1 import reconciler_pb2
from plane import resource
from reconciler.catalog import Catalog
from reconciler.resources import Resources
from reconciler.selection import kind_name, matcher
from reconciler.store import MemoryStore
from widgets import Widget


@pytest.fixture
async def resources() -> Resources:
    made = Resources(MemoryStore(), Catalog())
    for name, label in (("a", "web"), ("b", "db"), ("c", "web")):
        one = resource(Widget(size=1), name)
        one.metadata.labels["app"] = label
        one.metadata.key = name
        await made.commit([made.put(one, spec_changed=True, expect=0)])
    return made


def selected(resources: Resources, **fields: object) -> list[str]:
    selection = reconciler_pb2.Selection(**fields)  # type: ignore[arg-type]
    test = matcher(Catalog(), resources, selection)
    return [entry.name for entry in resources if test(entry)]


async def test_what_is_selected(resources: Resources) -> None:
    assert selected(resources) == ["a", "b", "c"]
    assert selected(resources, kind="Widget") == ["a", "b", "c"]
    assert selected(resources, kind="Widget", names=["c", "a"]) == ["a", "c"]
    assert selected(resources, label_selector="app=web") == ["a", "c"]
    assert selected(resources, kind="Widget", names=["a", "b"], label_selector="app=web") == ["a"]


async def test_a_kind_whose_service_is_gone_still_counts_by_its_name(resources: Resources) -> None:
    assert kind_name(Catalog(), resources, "Widget") == "Widget"
    assert kind_name(Catalog(), resources, "") == ""
    with pytest.raises(InvalidRequest, match="unknown kind"):
        kind_name(Catalog(), resources, "widgets")


async def test_names_that_are_wrong(resources: Resources) -> None:
    with pytest.raises(NotFound, match="Widget nobody"):
        selected(resources, kind="Widget", names=["a", "nobody"])
    with pytest.raises(InvalidRequest, match="without a kind"):
        selected(resources, names=["a"])
    with pytest.raises(InvalidRequest):
        selected(resources, label_selector="app in (")
