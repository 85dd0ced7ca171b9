"""`ncc get`: forms of output, selection, what is not there."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

import daemons


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_an_item_is_a_manifest_with_its_status(ncc: Any, form: str) -> None:
    ncc.apply(ncc.file())

    shown = yaml.safe_load(ncc.out("get", "file", ncc.name, "-o", form))

    (item,) = shown["items"]
    assert list(shown) == ["items"]
    assert {"kind", "metadata", "spec", "status"} <= set(item)
    assert item["spec"].items() >= {"path": f"/{ncc.name}/f", "content": "hello\n", "mode": "0644"}.items()
    ready = {row["type"]: row["status"] for row in item["status"]["conditions"]}["Ready"]
    assert ready == "True"


def test_names_for_pipes_and_a_table_for_people(ncc: Any) -> None:
    ncc.apply(ncc.file("-a"), ncc.file("-b"))

    names = ncc.out("get", "files", "-l", f"test={ncc.name}", "-o", "name").split()
    table = ncc.out("get", "file", f"{ncc.name}-a", f"{ncc.name}-b").splitlines()

    assert names == [f"File/{ncc.name}-a", f"File/{ncc.name}-b"]
    assert table[0].split()[0] == "NAME"
    assert [line.split()[0] for line in table[1:]] == [f"{ncc.name}-a", f"{ncc.name}-b"]
    assert f"{ncc.name}-a" in ncc.out("get"), "without a kind everything is listed"


@pytest.mark.parametrize(
    ("arguments", "code", "cause"),
    [
        (("file", "absent"), 5, "File absent does not exist"),
        (("file", "../../etc/passwd"), 5, "does not exist"),
        (("file", "--", "-rf"), 5, "File -rf does not exist"),
        (("fiel",), 2, "unknown kind 'fiel'"),
        (("-l", "a=("), 2, "label selector can't be read"),
        (("file", "a\x01b"), 5, "does not exist"),
    ],
)
def test_what_is_not_there_has_its_cause_and_a_next_step(
    ncc: Any, arguments: tuple[str, ...], code: int, cause: str
) -> None:
    done = ncc.run("get", *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert cause in done.stderr
    assert done.stderr.count(cause) == 1
    assert "\n  → " in done.stderr


def test_nothing_wrong_reaches_the_terminal(ncc: Any) -> None:
    done = ncc.run("get", "file", "a\x1b[31mred")

    assert done.returncode == 5
    assert "\x1b" not in done.stderr


def test_a_reader_that_leaves_is_no_error(ncc: Any) -> None:
    ncc.apply(*(ncc.file(f"-{i}") for i in range(20)))

    for form in ("table", "yaml", "name"):
        done = subprocess.run(
            ["bash", "-c", f"{daemons.NCC} get file -o {form} | head -1; echo ${{PIPESTATUS[0]}}"],
            env=ncc.daemon.env(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] in ("0", "141")


def test_a_full_device_is_an_error(ncc: Any) -> None:
    ncc.apply(ncc.file())

    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [daemons.NCC, "get", "file", "-o", "json"],
            env=ncc.daemon.env(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_explain_needs_no_daemon_and_nothing_else_does_without(ncc: Any) -> None:
    offline = {"NCC_SOCKET": str(ncc.scratch / "nobody.sock")}

    assert "spec" in ncc.run("explain", "File", env=offline).stdout
    assert ncc.run("version", env=offline).stdout.startswith("ncc ")
    assert json.dumps(ncc.run("help", env=offline).stdout).count("\\n") > 20
