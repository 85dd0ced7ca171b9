"""What is remembered survives, and what can't be read is none."""

from __future__ import annotations

from pathlib import Path

from nixcc.homelab.v1 import backup_pb2 as pb
from services.homelab.backup.models import Record, Run
from services.homelab.backup.records import Records

JOB = pb.BackupJob(repository="/r", password_file="/p", paths=["/a"], schedule="0 0 * * *")  # a path


def test_there_and_back(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert (records.names(), records.job("a"), records.record("a")) == ([], None, Record())
    record = Record(since=1.0, opened=True, runs=(Run(2.0, error="no"), Run(1.0, snapshot="x")))
    records.set_job("a", JOB)
    records.set_record("a", record)
    again = Records(tmp_path)
    assert (again.names(), again.job("a"), again.record("a")) == (["a"], JOB, record)
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")} == {0}
    assert again.drop("a")
    assert not again.drop("a")
    assert again.record("a") == Record()


def test_what_can_not_be_read_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.set_job("a", JOB)
    records.set_record("a", Record())
    for text in ("", "[]", '{"runs": 3}', '{"schedule": 3, "runs": []}'):
        (tmp_path / "jobs/a.json").write_text(text)
        (tmp_path / "records/a.json").write_text(text)
        assert records.record("a") == Record()
    (tmp_path / "jobs/a.json").write_text("{")
    assert records.job("a") is None
