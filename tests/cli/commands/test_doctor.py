"""`ncc doctor` and what it is for: a healthy daemon, none, a damaged, full or read-only state folder."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import daemons
from daemons import daemon, file, until


def test_healthy(ncc: Any) -> None:
    done = ncc.run("doctor", "-o", "json", "--state-dir", str(ncc.daemon.folder / "state"))
    rows = {row["what"]: row for row in yaml.safe_load(done.stdout)["findings"]}

    assert done.returncode == 0
    assert {rows[what]["level"] for what in ("daemon", "service vm", "service system", "disk")} == {"ok"}
    assert rows["kind Sysctl"]["level"] == "warning"
    assert "ok      daemon: answers at " in ncc.out("doctor")


def test_without_a_daemon_it_says_so_and_looks_at_the_rest(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)

    done = daemons.Ncc(tmp_path).run("doctor", "--state-dir", str(tmp_path / "state"))

    assert done.returncode == 1
    assert (
        f"wrong   daemon: the daemon does not run: there is no {tmp_path}/nixcc.sock; start it" in done.stdout
    )
    assert f"chmod 700 {tmp_path}/state" in done.stdout
    assert "disk: " in done.stdout


def test_a_damaged_store_is_restored_from_its_copy(tmp_path: Path) -> None:
    with daemon(tmp_path) as started:
        started.apply(file("a", "/a", "a\n"))
    store = tmp_path / "state/state.db"
    store.write_bytes(b"garbage" + store.read_bytes()[7:])

    refused = daemons.start(tmp_path, "reconciler")
    assert refused.process.wait(20) == 1
    assert "is damaged" in refused.log
    assert "ncc doctor --restore" in refused.log

    done = refused.run("doctor", "--restore", "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 0
    assert Path(done.stdout.split()[-1]).read_bytes().startswith(b"garbage")
    with daemon(tmp_path) as again:
        assert again.json("get", "File", "a")["items"][0]["spec"]["content"] == "a\n"
        running = again.run("doctor", "--restore", "--state-dir", str(tmp_path / "state"))
        assert running.returncode == 1
        assert f"in use by process {again.process.pid}" in running.stderr
        assert "\n  → " in running.stderr


def test_restoring_without_a_copy(tmp_path: Path) -> None:
    done = daemons.Ncc(tmp_path).run("doctor", "--restore", "--state-dir", str(tmp_path))

    assert done.returncode == 5
    assert "\n  → " in done.stderr


@pytest.fixture
def small(tmp_path: Path, require: Any) -> Iterator[Path]:
    """A disk of 1 MiB."""
    require(root=True)
    require(binary="mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    require(when=done.returncode == 0, reason=f"tmpfs can't be mounted: {done.stderr}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.host
def test_a_full_disk_refuses_all_or_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, small: Path
) -> None:
    (tmp_path / "state").symlink_to(small / "state")
    (small / "state").mkdir(mode=0o700)
    noise = random.Random(7)
    big = [file(f"f{i}", f"/f{i}", noise.randbytes(30_000).hex()) for i in range(40)]
    with daemon(tmp_path) as started:
        started.apply(file("first", "/first", "first\n"))
        text = "\n---\n".join(map(json.dumps, big))

        done = started.run("apply", "-f", "-", stdin=text)

        assert done.returncode == 7
        assert "disk is full" in done.stderr
        assert "\n  → free space" in done.stderr
        assert [item["metadata"]["name"] for item in started.json("get", "File")["items"]] == ["first"]
        assert not (started.root / "f0").exists()

        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        started.out("apply", "-f", "-", "--wait", stdin=text)
        (started.root / "first").write_text("hacked\n")
        until(lambda: (started.root / "first").read_text() == "first\n")


@pytest.mark.host
def test_a_read_only_disk_is_refused_at_the_start(tmp_path: Path, small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small], check=True)
    (tmp_path / "state").symlink_to(small)

    started = daemons.start(tmp_path, "reconciler")

    assert started.process.wait(20) != 0
    assert "Read-only file system" in started.log
    assert "Traceback" not in started.log
    assert not os.path.exists(started.socket)
