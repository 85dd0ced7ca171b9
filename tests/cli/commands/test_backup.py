"""ncc backup against a real daemon, to the very restored store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest

import daemons

IDENTITY = pyrage.x25519.Identity.generate()
PUBLIC = str(IDENTITY.to_public())


@pytest.fixture
def control(tmp_path: Path) -> Iterator[daemons.Daemon]:
    """A daemon of the test's own, with /etc/nixos and a key below its root."""
    (tmp_path / "root/etc/nixos").mkdir(parents=True)
    (tmp_path / "root/etc/nixos/flake.nix").write_text("{ outputs = _: { }; }\n")
    (tmp_path / "root/key").write_text(f"{IDENTITY}\n")
    with daemons.daemon(tmp_path, "system", "reconciler") as started:
        yield started


def policy(**spec: Any) -> dict[str, Any]:
    fields = {"recipients": [PUBLIC], "identity_file": "/key", "folder": "/b", **spec}
    return {"kind": "StateBackup", "metadata": {"name": "nightly"}, "spec": fields}


def test_from_a_backup_back_to_the_same_store(control: daemons.Daemon) -> None:
    control.apply(daemons.file("before", "/before", "hello\n"), policy(keep={"daily": 7}))
    archive = control.json("backup", "create", "nightly")
    assert archive["policy"] == "nightly"
    assert "1 databases" in control.out("backup", "verify", archive["path"])
    listed = control.json("backup")
    assert listed["backups"][0]["verify_time"]
    assert listed["policies"][0]["last_good"]["path"] == archive["path"]
    row = next(line for line in control.out("backup").splitlines() if line.startswith("nightly "))
    assert row.endswith("  ok")
    # Afterwards everything goes wrong.
    control.out("delete", "file", "before", "--wait")
    control.apply(daemons.file("after", "/after", "bye\n"))
    (control.root / "etc/nixos/flake.nix").write_text("broken")
    done = control.json("backup", "restore", archive["path"], "--target", "/again", "--etc-nixos", "--store")
    assert done["contents"]["databases"] == 1
    assert (control.root / "etc/nixos/flake.nix").read_text() == "{ outputs = _: { }; }\n"
    assert (control.root / done["replaced"].lstrip("/") / "flake.nix").read_text() == "broken"
    assert control.stop() == 0
    state = str(control.folder / "state")
    assert control.run("doctor", "--restore", "--state-dir", state).returncode == 0
    with daemons.daemon(control.folder, "system", "reconciler") as again:
        names = {item["metadata"]["name"] for item in again.json("get", "file")["items"]}
        assert names == {"before"}
        daemons.until(lambda: again.ready("File", "before")[0] == "True")
        assert (control.root / "before").read_text() == "hello\n"
        assert again.json("get", "StateBackup")["items"]


def test_by_hand_with_a_recipient_and_with_a_passphrase(control: daemons.Daemon) -> None:
    shown = control.out("backup", "create", "--recipient", PUBLIC, "--folder", "/usb")
    path = shown.split()[0]
    assert path.startswith("/usb/manual-")
    unnamed = control.run("backup", "verify", path)
    assert unnamed.returncode == 2
    assert "--identity" in unnamed.stderr
    control.out("backup", "verify", path, "--identity", "/key")
    (control.root / "words").write_text("correct horse battery\n")
    path = control.json("backup", "create", "--passphrase", "/words", "--without-etc-nixos")["path"]
    control.out("backup", "verify", path, "--passphrase", "/words")
    (control.root / "words").write_text("wrong\n")
    assert control.run("backup", "verify", path, "--passphrase", "/words").returncode == 4
    assert "correct horse" not in control.log
    control.out("backup", "delete", path)
    assert control.run("backup", "delete", path).returncode == 5


def test_a_damaged_archive_makes_the_resource_not_ready_when_it_was_the_last(control: daemons.Daemon) -> None:
    control.apply(policy())
    path = control.root / control.json("backup", "create", "nightly")["path"].lstrip("/")
    raw = bytearray(path.read_bytes())
    raw[-100] ^= 1
    path.write_bytes(raw)
    done = control.run("backup", "verify", f"/{path.relative_to(control.root)}")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert "damaged" in control.out("backup")
    again = control.run("backup", "restore", f"/{path.relative_to(control.root)}", "--target", "/again")
    assert again.returncode == 1
    assert not (control.root / "again").exists()


def test_a_schedule_that_is_due_runs_by_itself(control: daemons.Daemon) -> None:
    control.apply(policy(schedule="* * * * * *"))  # cronsim's sixth field: seconds
    found = daemons.until(lambda: control.json("backup")["backups"], 20)
    assert found[0]["policy"] == "nightly"
    control.out("delete", "StateBackup", "nightly", "--wait")
    assert control.json("backup").get("policies", []) == []


def test_a_run_that_was_missed_while_the_daemon_was_off_is_made_up_for(control: daemons.Daemon) -> None:
    control.apply(policy())
    assert control.json("backup")["backups"] == []
    assert control.stop() == 0
    record = control.folder / "state/system/backup/records/nightly.json"
    value = json.loads(record.read_text())
    value["since"] -= 3 * 86_400
    record.write_text(json.dumps(value))
    with daemons.daemon(control.folder, "system", "reconciler") as again:
        daemons.until(lambda: again.json("backup")["backups"])
        assert len(again.json("backup")["backups"]) == 1
        daemons.until(lambda: again.ready("StateBackup", "nightly")[0] == "True")


def test_a_daemon_that_is_killed_leaves_no_half_archive(control: daemons.Daemon) -> None:
    control.apply(policy())
    assert control.stop() == 0
    with daemons.daemon(
        control.folder, "system", "reconciler", env={"NCC_FAILPOINTS": "backup.before_rename=kill"}
    ) as doomed:
        assert doomed.run("backup", "create", "nightly").returncode == 7
        assert doomed.process.wait(10) == -9
    assert not list((control.root / "b").glob("*.age"))
    assert list((control.root / "b").glob(".nixcc-backup-*"))
    with daemons.daemon(control.folder, "system", "reconciler") as again:
        listed = again.json("backup")
        assert listed["backups"] == []
        assert "interrupted" in listed["policies"][0]["error"]
        again.out("backup", "verify", again.json("backup", "create", "nightly")["path"])
        assert len(list((control.root / "b").iterdir())) == 1


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"recipients": []}, "always encrypted"),
        ({"recipients": [str(IDENTITY)]}, "private key"),
        ({"schedule": "daily"}, "cron"),
        ({"folder": "relative"}, "folder"),
    ],
)
def test_what_is_refused(control: daemons.Daemon, spec: dict[str, Any], told: str) -> None:
    done = control.run("apply", "-f", "-", stdin=json.dumps(policy(**spec)))
    assert done.returncode == 2
    assert told in done.stderr
    assert str(IDENTITY) not in done.stderr + control.log


def test_a_secret_where_a_path_is_wanted_is_not_repeated(control: daemons.Daemon) -> None:
    secret = "correct-horse-battery"
    for field in ("passphrase_file", "identity_file"):
        done = control.run("apply", "-f", "-", stdin=json.dumps(policy(**{field: secret})))
        assert done.returncode == 2
        assert field in done.stderr
        assert secret not in done.stderr + control.log


def test_wrong_ways_to_ask(control: daemons.Daemon) -> None:
    assert control.run("backup", "verify").returncode == 2
    assert control.run("backup", "create", "none").returncode == 5
    assert control.run("backup", "create").returncode == 2
    assert control.run("backup", "verify", "/none", "--identity", "/key").returncode == 5
    assert sorted(os.listdir(control.root)) == ["etc", "key"]
