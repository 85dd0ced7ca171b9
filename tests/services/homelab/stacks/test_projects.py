"""Projects by the labels of their containers."""

from __future__ import annotations

from services.homelab.containers.inventory import Listed
from services.homelab.stacks import projects


def row(**labels: str) -> dict[str, object]:
    return {"Labels": {getattr(projects, name.upper()): value for name, value in labels.items()}}


def test_who_belongs_together() -> None:
    rows = {
        "shop-web-1": row(project="shop", service="web", number="1", one_off="False"),
        "shop_db_1": row(project="shop", service="db"),
        "shop-web-1.nixcc-new": row(project="shop", service="web"),
        "shop_run_1": row(project="shop", service="web", one_off="True"),
        "alone": {"Labels": {}},
        "bare": {},
    }
    found = projects.members(Listed(rows, {}))
    assert {name: [(one.name, one.service, one.number) for one in ones] for name, ones in found.items()} == {
        "shop": [("shop-web-1", "web", "1"), ("shop_db_1", "db", "1")]
    }
    assert projects.of_project([row(project="shop"), row(project="x"), {}], "shop") == [row(project="shop")]


def test_numbers_count_within_a_service() -> None:
    assert projects.numbers(["a", "b", "a", "a"]) == ["1", "1", "2", "3"]
    assert projects.container_labels("shop", "web", "2")[projects.NUMBER] == "2"
