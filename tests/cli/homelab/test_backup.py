"""ncc homelab backup, against the whole control center."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemons import Daemon, daemon, until
from dockerd import Dockerd

pytestmark = pytest.mark.host


@pytest.fixture
def center(docker: Dockerd, require: Any, tmp_path: Path) -> Iterator[Daemon]:
    require(binary="restic")
    environment = {"NCC_HOMELAB_ENGINE": docker.address}
    with daemon(tmp_path, env=environment, services=("homelab", "system")) as started:
        yield started


def declared(center: Daemon, **fields: Any) -> None:
    root = center.root
    (root / "docs").mkdir()
    (root / "docs/a").write_text("precious")
    (root / "password").write_text("canary-1b\n")
    (root / "password").chmod(0o600)
    spec = {
        "repository": str(root / "repository"),
        "password_file": str(root / "password"),
        "paths": [str(root / "docs")],
        "schedule": "30 3 * * *",
        "retention": {"last": 1},
        **fields,
    }
    center.apply({"kind": "BackupJob", "metadata": {"name": "nightly"}, "spec": spec})


def test_from_the_first_run_to_a_restored_file(center: Daemon, tmp_path: Path) -> None:
    declared(center)
    assert "never" in center.out("homelab", "backup")
    for _ in range(2):
        assert "1 files" in center.out("homelab", "backup", "run", "nightly")
    listed = center.out("homelab", "backup")
    assert "well" in listed
    assert "never" not in listed
    assert len(center.json("homelab", "backup", "history", "nightly")["items"]) == 2
    snapshots = center.json("homelab", "backup", "snapshots", "nightly")["items"]
    assert len(snapshots) == 1
    docs = str(center.root / "docs")
    assert f"{docs}/a" in center.out("homelab", "backup", "browse", "nightly", "latest", docs)
    target = tmp_path / "out"
    center.out("homelab", "backup", "restore", "nightly", snapshots[0]["id"][:6], "--target", str(target))
    assert Path(f"{target}{docs}/a").read_text() == "precious"
    assert "was restored and compared" in center.out("homelab", "backup", "verify", "nightly", "--restore")
    assert "all of them are kept" in center.out("homelab", "backup", "forget", "nightly")
    assert center.ready("BackupJob", "nightly")[0] == "True"
    assert "last total bytes" in center.out("describe", "backupjob", "nightly")
    assert "LAST SUCCESS" in center.out("get", "backupjobs")
    for arguments in (
        ["browse", "nightly", "latest", "/absent"],
        ["restore", "nightly", "latest", "/absent"],
    ):
        assert "is not in the snapshot" in center.run("homelab", "backup", *arguments).stderr
    assert "canary-1b" not in center.log


def test_what_goes_wrong(center: Daemon) -> None:
    declared(center)
    for arguments, code, says in (
        (["run"], 2, "which job?"),
        (["run", "absent"], 5, "there is no BackupJob"),
        (["restore", "nightly", "latest", "--target", "relative"], 2, "whole path"),
        (["history", "absent"], 2, "there is no BackupJob"),
    ):
        done = center.run("homelab", "backup", *arguments)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    (center.root / "password").write_text("wrong\n")
    center.run("homelab", "backup", "run", "nightly")
    (center.root / "password").chmod(0o644)
    done = center.run("homelab", "backup", "run", "nightly")
    assert "chmod 600" in done.stderr
    assert "chmod 600" in json.dumps(center.json("homelab", "backup")) or "read by others" in center.out(
        "homelab", "backup"
    )
    until(lambda: center.ready("BackupJob", "nightly") == ("False", "Unhealthy"))
