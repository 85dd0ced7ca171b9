"""What disks say of their own health, asked with smartctl."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common.errors import ControlError
from common.process import run
from services.hardware.drivers.tree import Notes
from services.hardware.models.storage import BlockDevice, SmartReport

# Seconds that one disk gets; a sleeping one takes some to spin up.
TIMEOUT = 15.0
# Disks asked at once.
_AT_ONCE = 4
# Bits of smartctl's exit code: the command line was wrong, the device could not be opened.
_FAILED = 0x3
# Attribute numbers of ATA disks.
_REALLOCATED, _PENDING = 5, 197


def smart_reports(devices: Sequence[BlockDevice], notes: Notes) -> tuple[SmartReport, ...]:
    """Asks all disks; those that don't answer in time or can't tell are named in the notes."""
    disks = [device for device in devices if _may_answer(device)]
    if shutil.which("smartctl") is None:
        notes.absent("smart_reports", "smartctl is not installed: install smartmontools")
        return ()
    if not disks:
        notes.absent("smart_reports", "no disk of this machine can tell (virtual disks don't)")
        return ()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="smart") as pool:
        found = list(pool.map(lambda disk: _ask(disk.path or "", notes), disks))
    return tuple(report for report in found if report)


def _may_answer(device: BlockDevice) -> bool:
    return (
        device.type == "disk"
        and bool(device.size)
        and device.transport in ("sata", "nvme", "sas", "usb", "ata", "fc")
    )


def _ask(path: str, notes: Notes) -> SmartReport | None:
    try:
        done = run(["smartctl", "--json", "--all", "--", path], timeout=TIMEOUT, check=False)
        answer = json.loads(done.stdout or b"{}")
    except (ControlError, ValueError) as error:
        notes.absent(f"smart_reports[{path}]", str(error))
        return None
    if done.exit_code & _FAILED:
        messages = answer.get("smartctl", {}).get("messages", [])
        reason = "; ".join(message.get("string", "") for message in messages) or f"exit code {done.exit_code}"
        notes.absent(f"smart_reports[{path}]", f"smartctl: {reason}")
        return None
    return parse(path, answer)


def parse(path: str, answer: Mapping[str, Any]) -> SmartReport:
    """A report out of `smartctl --json --all`, of ATA, SCSI and NVMe disks."""
    nvme: Mapping[str, Any] = answer.get("nvme_smart_health_information_log", {})
    table = answer.get("ata_smart_attributes", {}).get("table", [])
    attributes = {row.get("id"): row.get("raw", {}).get("value") for row in table}
    # NVMe counts thousands of 512 bytes.
    written = nvme.get("data_units_written")
    return SmartReport(
        path=path,
        passed=answer.get("smart_status", {}).get("passed"),
        temperature=answer.get("temperature", {}).get("current"),
        power_on_hours=answer.get("power_on_time", {}).get("hours"),
        power_cycles=answer.get("power_cycle_count"),
        percentage_used=nvme.get("percentage_used"),
        reallocated_sectors=attributes.get(_REALLOCATED),
        pending_sectors=attributes.get(_PENDING),
        media_errors=nvme.get("media_errors"),
        bytes_written=None if written is None else written * 512_000,
    )
