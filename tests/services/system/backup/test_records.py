"""What is remembered between runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.system.backup.models import Archive, Encryption, Keep, Policy, Record, archive_name, parse_name
from services.system.backup.records import Records

POLICY = Policy(
    "nightly", "30 3 * * *", "/b", Encryption(("age1x",)), "/key", "0 5 * * 0", Keep(1, 2, 3, 4), nixos=False
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    records = Records(tmp_path)
    other = Policy("weekly@home", "0 0 * * 0", "/c", Encryption(passphrase_file="/p"))
    record = Record(1.5, 2.5, "no room", 3.5, "bad", (Archive("/b/x", "nightly", 4.5, 6, "ab", 7.5, "cut"),))
    for policy in (POLICY, other):
        records.set_policy(policy)
    records.set_record("nightly", record)
    again = Records(tmp_path)
    assert again.policies() == {"nightly": POLICY, "weekly@home": other}
    assert again.record("nightly") == record
    assert again.record("weekly@home") == Record()
    assert again.drop_policy("nightly")
    assert not again.drop_policy("nightly")
    assert again.policy("nightly") is None
    assert again.record("nightly") == record
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*.json")} == {"0o600"}


def test_a_damaged_record_is_as_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.set_record("nightly", Record(1.0))
    (tmp_path / "records/nightly.json").write_text('{"since": 1')
    assert records.record("nightly") == Record()
    records.set_record("nightly", Record(2.0))
    assert records.record("nightly") == Record(2.0)


@pytest.mark.parametrize("policy", ["nightly", "a-b", "x-20260101T000000000Z", "manual", "a@b:c.d"])
def test_names_of_archives(policy: str) -> None:
    name = archive_name(policy, 1_795_491_225.885)
    assert parse_name(name) == (policy, 1_795_491_225.885)


@pytest.mark.parametrize(
    "name",
    ["x.tar.gz.age", "-20261124T003345885Z.tar.gz.age", "a-20261399T003345885Z.tar.gz.age", "a-2026.age", ""],
)
def test_names_of_other_files(name: str) -> None:
    assert parse_name(name) is None
