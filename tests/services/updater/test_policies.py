from __future__ import annotations

from pathlib import Path

from nixcc.updater.v1.update_policy_pb2 import UpdatePolicy
from services.updater.policies import Policies

NIGHTLY = UpdatePolicy(flake="/etc/nixos", schedule="0 4 * * *")


def test_kept_over_restarts(tmp_path: Path) -> None:
    policies = Policies(tmp_path / "policies")
    assert policies.all() == {}
    assert policies.put("nightly", NIGHTLY, 100.0)
    assert not policies.put("nightly", NIGHTLY, 200.0)
    policies.note("nightly", last_run=150.0, anchor=150.0, last_result="done")
    row = Policies(tmp_path / "policies").all()["nightly"]
    assert (row.spec, row.anchor, row.last_run, row.last_result) == (NIGHTLY, 150.0, 150.0, "done")


def test_only_a_new_schedule_begins_anew(tmp_path: Path) -> None:
    policies = Policies(tmp_path / "policies")
    policies.put("nightly", NIGHTLY, 100.0)
    other = UpdatePolicy(flake="/etc/nixos", schedule="0 4 * * *", commit=False)
    policies.put("nightly", other, 200.0)
    row = policies.get("nightly")
    assert row is not None
    assert (row.spec, row.anchor) == (other, 100.0)
    policies.put("nightly", UpdatePolicy(flake="/etc/nixos", schedule="0 5 * * *"), 300.0)
    row = policies.get("nightly")
    assert row is not None
    assert row.anchor == 300.0


def test_any_name_is_a_file_of_its_own(tmp_path: Path) -> None:
    policies = Policies(tmp_path / "policies")
    names = ["a", "a.b", "a@b:c", "..", "A"]
    for name in names:
        policies.put(name, NIGHTLY, 1.0)
    assert set(policies.all()) == set(names)
    assert {path.parent for path in tmp_path.rglob("*.json")} == {tmp_path / "policies"}
    assert policies.remove("..")
    assert not policies.remove("..")


def test_damaged_record_counts_as_none(tmp_path: Path) -> None:
    policies = Policies(tmp_path / "policies")
    policies.put("nightly", NIGHTLY, 1.0)
    for text in ("", "{", "[]", '{"spec": "%"}', '{"spec": "", "anchor": 1, "later": 2}'):
        (tmp_path / "policies/nightly.json").write_text(text)
        assert policies.get("nightly") is None
        assert policies.all() == {}
    policies.note("nightly", last_run=1.0)
    assert policies.put("nightly", NIGHTLY, 2.0)
