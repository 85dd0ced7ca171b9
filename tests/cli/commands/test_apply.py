"""`ncc apply` from a file, a folder and standard input; what it waits for; sets and pruning; what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import daemons
from daemons import until


def test_from_standard_input_and_waiting(ncc: Any) -> None:
    done = ncc.run("apply", "-f", "-", "--wait", stdin=json.dumps(ncc.file()))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"File/{ncc.name} created\nFile/{ncc.name} ready\n"
    assert (ncc.folder / "f").read_text() == "hello\n"


def test_again_is_unchanged_and_another_content_is_configured(ncc: Any) -> None:
    path = ncc.write(ncc.file())

    assert ncc.out("apply", "-f", path).endswith(" created\n")
    assert ncc.out("apply", "-f", path).endswith(" unchanged\n")
    path = ncc.write(ncc.file(content="other\n"))
    assert ncc.out("apply", "-f", path, "--wait").splitlines()[0].endswith(" configured")
    assert (ncc.folder / "f").read_text() == "other\n"


def test_a_folder_with_yaml_and_json(ncc: Any) -> None:
    (ncc.scratch / "deep").mkdir()
    ncc.write(ncc.file("-a"), ncc.file("-b"), name="one.yaml")
    (ncc.scratch / "deep/two.json").write_text(json.dumps(ncc.file("-c")))
    (ncc.scratch / "notes.txt").write_text("no manifest")

    names = ncc.out("apply", "-f", str(ncc.scratch), "-o", "name").split()

    assert sorted(names) == [f"File/{ncc.name}-{letter}" for letter in "abc"]


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_its_output_for_programs(ncc: Any, form: str) -> None:
    done = ncc.run("apply", "-f", "-", "-o", form, "--wait", stdin=json.dumps(ncc.file(f"-{form}")))

    (item,) = yaml.safe_load(done.stdout)["items"]
    assert item["outcome"] == "created"
    assert item["metadata"]["name"] == f"{ncc.name}-{form}"
    assert done.returncode == 0


def test_a_dry_run_changes_nothing(ncc: Any) -> None:
    said = ncc.out("apply", "-f", "-", "--dry-run", "--wait", stdin=json.dumps(ncc.file()))

    assert said == f"File/{ncc.name} created (dry run)\n"
    assert ncc.run("get", "File", ncc.name).returncode == 5
    assert not ncc.folder.exists()


def test_a_set_prunes_what_it_no_longer_holds(ncc: Any) -> None:
    first = ncc.write(ncc.file("-a"), ncc.file("-b"))
    ncc.out("apply", "-f", first, "--set", ncc.name, "--wait")

    second = ncc.write(ncc.file("-a"))
    said = ncc.out("apply", "-f", second, "--set", ncc.name, "--prune", "--wait").splitlines()

    assert f"File/{ncc.name}-b pruned" in said
    assert f"File/{ncc.name}-b gone" in said
    assert not (ncc.folder / "f-b").exists()
    assert (ncc.folder / "f-a").exists()


def test_pruning_without_a_set_is_refused(ncc: Any) -> None:
    done = ncc.run("apply", "-f", "-", "--prune", stdin=json.dumps(ncc.file()))

    assert done.returncode == 2
    assert "set" in done.stderr


def test_waiting_ends_at_the_timeout_with_8_and_the_reason(ncc: Any) -> None:
    waits = ncc.file(depends_on=[{"kind": "File", "name": f"{ncc.name}-absent"}])

    done = ncc.run("apply", "-f", "-", "--wait", "--timeout", "500ms", stdin=json.dumps(waits))

    assert done.returncode == 8
    assert f"File/{ncc.name} timed out: " in done.stderr
    assert f"{ncc.name}-absent" in done.stderr


def test_waiting_for_what_fails_says_why(ncc: Any) -> None:
    (ncc.daemon.root / ncc.name).write_text("a file where a folder is needed")

    done = ncc.run("apply", "-f", "-", "--wait", "--timeout", "3s", stdin=json.dumps(ncc.file()))

    assert done.returncode in (1, 8)
    assert f"File/{ncc.name} " in done.stderr
    assert ncc.name in done.stderr.split(":", 1)[1]


@pytest.mark.parametrize("kind", ["File", "VirtualMachine"])
def test_what_get_prints_can_be_applied_and_changes_nothing(ncc: Any, kind: str) -> None:
    ncc.apply(ncc.file(), ncc.vm())
    before = ncc.item(kind)

    shown = ncc.out("get", kind, ncc.name, "-o", "yaml")
    said = ncc.out("apply", "-f", "-", stdin=shown)

    assert said == f"{kind}/{ncc.name} unchanged\n"
    assert ncc.item(kind)["metadata"] == before["metadata"]


def test_a_stale_etag_is_a_conflict(ncc: Any) -> None:
    ncc.apply(ncc.file())
    old = ncc.out("get", "File", ncc.name, "-o", "yaml")
    ncc.apply(ncc.file(content="newer\n"))

    done = ncc.run("apply", "-f", "-", stdin=old)

    assert done.returncode == 6
    assert "etag" in done.stderr
    assert "→" in done.stderr
    until(lambda: (ncc.folder / "f").read_text() == "newer\n")


def test_all_mistakes_are_told_with_their_places_and_nothing_is_applied(ncc: Any) -> None:
    path = ncc.scratch / "bad.yaml"
    path.write_text(
        f"kind: File\nmetadata: {{name: {ncc.name}}}\nspec: {{path: /x, contnt: hi, mode: 0644}}\n"
        "---\nkind: Fil\nmetadata: {name: x}\nspec: {}\n"
        f"---\nkind: File\nmetadata: {{name: {ncc.name}-good}}\nspec: {{path: /{ncc.name}, content: x}}\n"
    )

    done = ncc.run("apply", "-f", str(path))

    assert done.returncode == 2
    assert f"{path}:3:18: " in done.stderr
    assert "did you mean content?" in done.stderr
    assert f"{path}:5:7: " in done.stderr
    assert "nothing was applied" in done.stderr
    assert ncc.run("get", "File", f"{ncc.name}-good").returncode == 5


def test_what_the_daemon_refuses_has_its_place_in_the_file_too(ncc: Any) -> None:
    path = ncc.scratch / "relative.yaml"
    path.write_text(f"kind: File\nmetadata: {{name: {ncc.name}}}\nspec:\n  path: etc/motd\n  content: x\n")

    done = ncc.run("apply", "-f", str(path))

    assert done.returncode == 2
    assert f"{path}:4:" in done.stderr


def test_a_file_that_is_not_there(ncc: Any) -> None:
    done = ncc.run("apply", "-f", str(ncc.scratch / "absent.yaml"))

    assert done.returncode in (2, 5)
    assert "absent.yaml" in done.stderr
    assert done.stderr.startswith("ncc apply: ")


def test_a_client_killed_in_the_middle_leaves_all_or_nothing(ncc: Any) -> None:
    count = 250
    path = ncc.write(*(ncc.file(f"-{i}") for i in range(count)))
    killed = []
    for delay in (0.05, 0.15, 0.25, 0.35):
        process = subprocess.Popen(
            [daemons.NCC, "apply", "-f", path], env=ncc.daemon.env(), stdout=subprocess.DEVNULL
        )
        time.sleep(delay)  # a moment of the client's life, not a wait for something
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed.append(len(ncc.out("get", "File", "-l", f"test={ncc.name}", "-o", "name").split()))

    assert set(killed) <= {0, count}
    assert ncc.run("apply", "-f", path, "--wait").returncode == 0
    assert sum(1 for _ in Path(ncc.folder).iterdir()) == count
    ncc.out("delete", "File", "-l", f"test={ncc.name}", "--wait")
