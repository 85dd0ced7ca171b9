"""Reports out of smartctl's JSON, recorded in short; and disks that can't be asked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.hardware.drivers.smart import parse, smart_reports
from services.hardware.drivers.tree import Notes
from services.hardware.models.storage import BlockDevice, SmartReport

ATA = {
    "smart_status": {"passed": True},
    "temperature": {"current": 34},
    "power_on_time": {"hours": 21000},
    "power_cycle_count": 150,
    "ata_smart_attributes": {"table": [{"id": 5, "raw": {"value": 8}}, {"id": 197, "raw": {"value": 1}}]},
}
NVME = {
    "smart_status": {"passed": False},
    "temperature": {"current": 41},
    "power_on_time": {"hours": 900},
    "power_cycle_count": 20,
    "nvme_smart_health_information_log": {
        "percentage_used": 7,
        "media_errors": 2,
        "data_units_written": 1000,
    },
}


def test_a_disk_that_turns() -> None:
    assert parse("/dev/sda", ATA) == SmartReport(
        path="/dev/sda",
        passed=True,
        temperature=34,
        power_on_hours=21000,
        power_cycles=150,
        reallocated_sectors=8,
        pending_sectors=1,
    )


def test_an_nvme_disk() -> None:
    report = parse("/dev/nvme0n1", NVME)
    assert (report.passed, report.percentage_used, report.media_errors) == (False, 7, 2)
    assert report.bytes_written == 512_000_000


def test_an_answer_that_says_nothing() -> None:
    assert parse("/dev/sda", {}) == SmartReport(path="/dev/sda")


SCRIPT = """#!/bin/sh
case "$4" in
  /dev/good) echo '{"smart_status": {"passed": true}}';;
  /dev/bad) echo '{"smartctl": {"messages": [{"string": "Device open failed"}]}}'; exit 2;;
  *) echo nonsense;;
esac
"""


def _disk(name: str, transport: str | None = "sata") -> BlockDevice:
    return BlockDevice(name=name, path=f"/dev/{name}", type="disk", size=1, transport=transport)


def test_disks_that_fail_cost_only_their_own_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "smartctl"
    program.write_text(SCRIPT)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    notes = Notes()
    reports = smart_reports([_disk("good"), _disk("bad"), _disk("odd"), _disk("vda", "virtio")], notes)
    assert reports == (SmartReport(path="/dev/good", passed=True),)
    reasons = {absence.fact: absence.reason or "" for absence in notes.absences}
    assert "Device open failed" in reasons["smart_reports[/dev/bad]"]
    assert "smart_reports[/dev/odd]" in reasons
    assert len(reasons) == 2


def test_no_smartctl_and_no_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    notes = Notes()
    assert smart_reports([_disk("sda")], notes) == ()
    assert "smartmontools" in (notes.absences[0].reason or "")
