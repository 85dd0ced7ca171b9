"""Manifests that nobody should hand over: each is refused at once, with its place and cause, and nothing is applied."""

from __future__ import annotations

import time
from typing import Any

import pytest

_FILE = "kind: File\nmetadata: {{name: {}}}\nspec: {{path: {}, content: x}}\n"
_CIRCLE = """\
kind: File
metadata: {name: circle-a}
spec: {path: /circle-a, content: x}
policy: {depends_on: [{kind: File, name: circle-b}]}
---
kind: File
metadata: {name: circle-b}
spec: {path: /circle-b, content: x}
policy: {depends_on: [{kind: File, name: circle-a}]}
"""
_VM = "kind: VirtualMachine\nmetadata: {name: v}\nspec: {cpus: -2, memory: -5MiB}\n"


def _bomb() -> str:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (_FILE.format('"a\\0b"', "/x"), ":2:18: 'a\\x00b' is no name"),
        (_FILE.format('"a\\e[31mb"', "/x"), ":2:18: 'a\\x1b[31mb' is no name"),
        ("kind: File\nmetadata: {name: a\x01b}\nspec: {path: /x}\n", "the control character U+0001"),
        (_FILE.format("x", '"/x\\0y"'), "path contains the control character U+0000"),
        (_FILE.format("-rf", "/x"), ":2:18: '-rf' is no name"),
        (_FILE.format("x", "/../../etc/passwd"), ":3:14: path must not contain . or .. as a part"),
        (_FILE.format("../../x", "/x"), "is no name"),
        (_VM, "cpus takes 0 to 4294967295, not -2"),
        (_VM, "'-5MiB' is negative"),
        (_CIRCLE, "in a circle: File circle-a → File circle-b → File circle-a"),
        (_FILE.format("x", "/x").replace("File", "Fiel"), ":1:7: unknown kind 'Fiel'; did you mean File?"),
        (_FILE.format("x", "/x") + "---\n" + _FILE.format("x", "/y"), "x"),
        ("kind: File\nkind: File\nmetadata: {name: x}\nspec: {path: /x}\n", ":2:1: "),
        (_bomb(), "an alias bomb?"),
        ("", "declares nothing"),
        ("just words", "a resource is a mapping"),
        ("{", "<stdin>:"),
        ("\ufeff\x00", "<stdin>"),
    ],
)
def test_refused_with_its_cause(ncc: Any, text: str, cause: str) -> None:
    done = ncc.run("apply", "-f", "-", stdin=text)

    assert (done.returncode, done.stdout) == (2, "")
    assert cause in done.stderr
    assert "nothing was applied" in done.stderr
    assert all(char.isprintable() or char == "\n" for char in done.stderr)
    for name in ("x", "v", "circle-a", "circle-b"):
        assert ncc.run("get", "File" if name != "v" else "vm", name).returncode == 5


def test_a_manifest_of_50_megabytes_is_not_even_read(ncc: Any) -> None:
    path = ncc.scratch / "big.yaml"
    with path.open("wb") as target:
        target.write(b"kind: File\nmetadata: {name: big}\nspec: {path: /big, content: |\n")
        target.truncate(50_000_000)

    began = time.monotonic()
    done = ncc.run("apply", "-f", str(path))

    assert done.returncode == 2
    assert "is 48 MiB large; a manifest may have 16 MiB: split it" in done.stderr
    assert time.monotonic() - began < 5
    endless = ncc.run("apply", "-f", "/dev/zero")
    assert endless.returncode == 2
    assert "too large" in endless.stderr


def test_one_field_of_many_megabytes(ncc: Any) -> None:
    done = ncc.run(
        "apply", "-f", "-", stdin=_FILE.format("x", "/x").replace("content: x", f"content: {'x' * 9_000_000}")
    )

    assert done.returncode == 2
    assert "content is 9000000 bytes long, at most 1048576 are allowed" in done.stderr
    assert len(done.stderr) < 1_000
