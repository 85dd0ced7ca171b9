"""Where manifests come from, and what is refused before anybody reads it."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from cli.kinds import Kinds
from cli.manifest import ManifestError, load
from cli.manifest.source import MAX_FILE

KINDS = Kinds.offline()


def manifest(name: str) -> str:
    return f"kind: File\nmetadata: {{name: {name}}}\nspec: {{path: /{name}}}\n"


def names(*sources: object, stdin: bytes = b"") -> list[str]:
    documents = load([str(source) for source in sources], KINDS, stdin=io.BytesIO(stdin))
    return [document.resource.metadata.name for document in documents]


def problems(*sources: object, stdin: bytes = b"") -> list[str]:
    with pytest.raises(ManifestError) as caught:
        names(*sources, stdin=stdin)
    return [str(problem) for problem in caught.value.problems]


def test_reads_the_manifests_of_a_folder_sorted(tmp_path: Path) -> None:
    for file in ("b.yml", "a.yaml", "c.json", "sub/d.yaml", ".hidden.yaml", "README.md", "x.yaml~"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            manifest(path.name[0])
            if path.suffix != ".json"
            else '{"kind": "File", "metadata": {"name": "c"}, "spec": {"path": "/c"}}'
        )

    assert names(tmp_path) == ["a", "b", "c", "d"]


def test_reads_several_sources_and_standard_input_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(manifest("a"))

    assert names("-", tmp_path / "a.yaml", stdin=manifest("z").encode()) == ["z", "a"]


def test_reads_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(manifest("a")))
    writer.start()

    assert names(pipe) == ["a"]
    writer.join()


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + manifest("a").encode())

    assert names(tmp_path / "a.yaml") == ["a"]


def test_every_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.yaml").write_text("kind: [")

    found = problems(tmp_path / "missing.yaml", tmp_path / "empty", tmp_path / "bad.yaml", "a\0b")

    assert found[0] == f"{tmp_path}/missing.yaml: can't be read: No such file or directory"
    assert found[1].startswith(f"{tmp_path}/empty: holds no manifest")
    assert found[2].startswith(f"{tmp_path}/bad.yaml:2:1: ")
    assert len(found) == 4


def test_a_manifest_that_declares_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing\n---\n")

    assert problems(tmp_path / "a.yaml") == [f"{tmp_path}/a.yaml: declares nothing"]
    assert problems("-") == ["-: declares nothing"]


def test_a_file_of_50_mb_is_refused_without_being_read(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50_000_000)  # a hole: reading it would find NULs

    assert problems(large) == [f"{large}: is 48 MiB large; a manifest may have 16 MiB: split it"]


def test_endless_input_is_refused() -> None:
    assert problems("-", stdin=b"a" * (MAX_FILE + 1)) == [
        "<stdin>: is too large; a manifest may have 16 MiB: split it"
    ]


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"kind: File\nmetadata: {name: \xff}\n", "<stdin>:2:18: is not UTF-8: byte 0xff"),
        (b"kind: File\n# a\0b\n", "<stdin>:2:4: the control character U+0000 can't stand here"),
        (b"\x1b[31m", "<stdin>:1:1: the control character U+001B can't stand here"),
        ("é".encode("latin-1"), "<stdin>:1:1: is not UTF-8: byte 0xe9"),
        ("kind".encode("utf-16"), "<stdin>:1:1: is not UTF-8: byte 0xff"),
        (b"\xef\xbb\xbfab\xff", "<stdin>:1:3: is not UTF-8: byte 0xff"),
        (b"kind: File\n\tmetadata: {}\n", "<stdin>:2:"),
        (b"a: b: c\n", "<stdin>:1:5: a ':' can't stand here"),
        (b"- a\nb: c\n", "<stdin>:2:1: did not find expected"),
        (b"a: *nobody\n", "<stdin>:1:4: *nobody is not defined"),
        (b"a: &a [*a]\n", "<stdin>:1:8: *a contains itself"),
        (b"a: !!python/object:os.system x\n", "<stdin>:1:4: the tag !!python/object:os.system is not taken"),
        (b"{a: {[b]: c}}\n", "<stdin>:1:6: a list can't be a key"),
    ],
)
def test_text_that_is_no_manifest_is_refused_with_its_place(raw: bytes, place: str) -> None:
    assert problems("-", stdin=raw)[0].startswith(place)


def test_deep_nesting_is_refused() -> None:
    for text in ("[" * 100_000, "a: " + "[" * 100_000 + "]" * 100_000, "- " * 10_000 + "a", "{a: " * 10_000):
        assert "nested more than 100 deep" in problems("-", stdin=text.encode())[0]
    assert "nested more than 100 deep" in problems("-", stdin=b'{"a":' + b"[" * 500 + b"]" * 500 + b"}")[0]


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    found = problems("-", stdin="\n".join(lines).encode())

    assert "aliases repeat more than" in found[0]
    assert found[0].startswith("<stdin>:5:") or found[0].startswith("<stdin>:6:")


def test_a_bomb_of_merges_is_refused() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 30)}]}}" for n in range(1, 10)]

    assert "aliases repeat more than" in problems("-", stdin="\n".join(lines).encode())[0]
