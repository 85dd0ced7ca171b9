"""`ncc delete`: by name, by label, by manifest; with and without what it stands for."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_file_goes_with_its_resource(ncc: Any) -> None:
    ncc.apply(ncc.file())

    said = ncc.out("delete", "file", ncc.name, "--wait").splitlines()

    assert said == [f"File/{ncc.name} is being deleted", f"File/{ncc.name} gone"]
    assert not (ncc.folder / "f").exists()
    assert ncc.run("get", "file", ncc.name).returncode == 5


def test_an_orphan_stays(ncc: Any) -> None:
    ncc.apply(ncc.file())

    ncc.out("delete", "file", ncc.name, "--orphan", "--wait")

    assert (ncc.folder / "f").read_text() == "hello\n"
    assert ncc.run("get", "file", ncc.name).returncode == 5


def test_by_label_and_by_manifest(ncc: Any) -> None:
    path = ncc.write(ncc.file("-a"), ncc.file("-b", depends_on=[{"kind": "File", "name": f"{ncc.name}-a"}]))
    ncc.out("apply", "-f", path, "--wait")

    tried = ncc.out("delete", "file", "-l", f"test={ncc.name}", "--dry-run").splitlines()
    ncc.out("delete", "-f", path, "--wait")

    assert tried == [f"File/{ncc.name}-a would be deleted", f"File/{ncc.name}-b would be deleted"]
    assert ncc.out("get", "file", "-l", f"test={ncc.name}", "-o", "name") == ""
    assert list(ncc.folder.iterdir()) == []
    assert ncc.out("delete", "file", "-l", f"test={ncc.name}") == "nothing matches\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("file", "absent"), 5), (("file",), 2), ((), 2), (("fiel", "x"), 2), (("-f", "/nonexistent"), 2)],
)
def test_what_it_refuses(ncc: Any, arguments: tuple[str, ...], code: int) -> None:
    done = ncc.run("delete", *arguments)

    assert done.returncode == code
    assert done.stderr.startswith("ncc delete: ")


def test_what_is_not_there_may_be_ignored(ncc: Any) -> None:
    assert ncc.run("delete", "file", "absent", "--ignore-not-found", "--wait").returncode == 0


def test_a_machine_goes_too(ncc: Any) -> None:
    ncc.apply(ncc.vm())

    ncc.out("delete", "vm", ncc.name, "--wait")

    assert ncc.name not in [row["name"] for row in ncc.json("vm")["items"]]
